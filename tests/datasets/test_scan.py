"""The compiled loop over annotation files: the numbers of the standard library to the last bit, or none."""

import json

import numpy as np
import pytest

from pose_models.datasets import index
from pose_models.datasets.index import INFOS, INSTANCES, parse_file
from pose_models.datasets.scan import scan

WIDTHS = {"v": 3, "n": 0}


def as_json(text: str | bytes) -> list[tuple[int, list[tuple[list[float], float]]]]:
    return [
        (int(key), [([float(v) for v in entry["v"]], float(entry["n"])) for entry in value])
        for key, value in json.loads(text).items()
    ]


def as_scanned(text: str | bytes) -> list[tuple[int, list[tuple[list[float], float]]]] | None:
    found = scan(text if isinstance(text, bytes) else text.encode(), WIDTHS, many=True)
    if found is None:
        return None
    im_ids, counts, columns = found
    rows = iter(zip(columns["v"].tolist(), columns["n"][:, 0].tolist(), strict=True))
    return [(int(im_id), [next(rows) for _ in range(count)]) for im_id, count in zip(im_ids, counts, strict=True)]


def some(seed: int = 0) -> dict[str, list[dict[str, object]]]:
    rng = np.random.default_rng(seed)
    return {
        str(7 * n): [{"v": rng.standard_normal(3).tolist(), "n": int(rng.integers(-5, 5))} for _ in range(n % 4)]
        for n in range(1, 9)
    }


@pytest.mark.parametrize(
    "form", [{}, {"indent": 2}, {"separators": (",", ":")}, {"indent": "\t", "separators": (" ,\r\n", " : ")}]
)
def test_any_spacing(form):
    text = json.dumps(some(), **form)
    assert as_scanned(text) == as_json(text)


def test_numbers_are_rounded_as_the_standard_library_rounds_them():
    rng = np.random.default_rng(0)
    values = [
        *(rng.standard_normal(6000) * 10.0 ** rng.integers(-15, 15, 6000)).tolist(),
        *[round(float(v), int(d)) for v, d in zip(rng.normal(0, 1e3, 6000), rng.integers(0, 9, 6000), strict=True)],
        *rng.integers(-(2**52), 2**52, 1000).tolist(),
        *[
            0.0,
            -0.0,
            0,
            1e-17,
            6.123233995736766e-17,
            1e22,
            1e23,
            9007199254740993.0,
            0.1,
            0.3,
            5e-1,
            1.7976931348623157e60,
        ],
    ]
    texts = [repr(v) for v in values] + ["1E3", "1e+3", "-0", "0.10000000000000000", "123456789012345678", "2.50e-03"]
    taken = 0
    for start in range(0, len(texts), 30):
        part = texts[start : start + 30]
        text = '{"1": [' + ", ".join(f'{{"v": [{t}, 0, 0], "n": 0}}' for t in part) + "]}"
        scanned = as_scanned(text)
        if scanned is not None:
            taken += 1
            got, expected = (np.array([row[0][0] for row in rows[0][1]], float) for rows in (scanned, as_json(text)))
            assert got.tobytes() == expected.tobytes()
    assert taken > 0.97 * len(texts) / 30


def test_it_gives_up_where_a_double_cannot_be_told_for_certain():
    for number in ("9007199254740993", "52054358542171980e0", "1e400", "1e-400", "0." + "1" * 40):
        assert as_scanned(f'{{"1": [{{"v": [{number}, 0, 0], "n": 0}}]}}') is None, number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"1": []}',
        '{"1": [{"v": [1, 2], "n": 3}]}',
        '{"1": [{"v": [1, 2, 3]}]}',
        '{"1": [{"v": [1, 2, 3], "n": 3}, {"n": 3, "v": [1, 2, 3]}]}',
        '{"1": [{"v": [1, 2, 3], "n": 3}, {"v": [1, 2, 3], "n": "3"}]}',
        '{"1": [{"v": [1, 2, 3], "n": 3}, {"v": [1, 2, NaN], "n": 3}]}',
        '{"1": [{"v": [1, 2, 3], "n": 3}], "1": [{"v": [1, 2, 3], "n": 3}]}',
        '{"1": [{"v": [1, 2, 3], "n": 3}]} x',
        '{"1": [{"v": [1, 2, 3], "n": 3}]',
        '{"1": [{"v": [1, 2, 3], "n": 3},]}',
        '{"1": [{"v": [01, 2, 3], "n": 3}]}',
        '{"1": [{"v": [1., 2, 3], "n": 3}]}',
        '{"1": [{"v": [1, 2, 3], "n": 3}, {" v": [1, 2, 3], "n": 3}]}',
        '{"a": [{"v": [1, 2, 3], "n": 3}]}',
    ],
)
def test_it_gives_up_on_what_does_not_fit(text):
    assert as_scanned(text) is None


def test_a_changed_byte_never_gives_other_numbers_than_json():
    rng = np.random.default_rng(3)
    good = json.dumps(some(1)).encode()
    alphabet = np.frombuffer(b'0123456789.-+eE,:[]{}" \nx', np.uint8)
    refused = 0
    for _ in range(4000):
        text = bytearray(good)
        for place in rng.integers(0, len(text), rng.integers(1, 3)):
            text[place] = rng.choice(alphabet)
        scanned = as_scanned(bytes(text))
        if scanned is None:
            refused += 1
            continue
        assert scanned == as_json(bytes(text)), bytes(text)
    assert 0 < refused < 4000


def test_both_ways_give_the_same_tables(tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    gt = {
        str(n): [
            {"cam_R_m2c": rng.standard_normal(9).tolist(), "cam_t_m2c": rng.standard_normal(3).tolist(), "obj_id": n}
            for _ in range(3)
        ]
        for n in range(5)
    }
    infos = {
        key: [
            {"bbox_obj": [-3, n, 5, 7], "bbox_visib": [-1] * 4, "px_count_all": 10 + n, "px_count_valid": 8}
            | {"px_count_visib": n, "visib_fract": float(rng.random())}
            for n, _ in enumerate(entries)
        ]
        for key, entries in gt.items()
    }
    for kind, content in ((INSTANCES, gt), (INFOS, infos)):
        file = tmp_path / f"{kind.name}.json"
        file.write_text(json.dumps(content))
        monkeypatch.setattr(index, "SCANNED_BYTES", 10**9)
        general = parse_file(kind, file)
        monkeypatch.setattr(index, "SCANNED_BYTES", 0)
        monkeypatch.setattr(index.Kind, "file_decoder", None)  # the general way would fail now
        scanned = parse_file(kind, file)
        monkeypatch.undo()
        assert scanned.keys() == general.keys()
        for name, array in general.items():
            assert array.dtype == scanned[name].dtype
            assert array.tobytes() == np.ascontiguousarray(scanned[name]).tobytes(), name
    file.write_text(json.dumps(infos).replace('"px_count_visib": 2', '"px_count_visib": 2.5'))
    monkeypatch.setattr(index, "SCANNED_BYTES", 0)
    with pytest.raises(ValueError, match="image 0, instance 2: 'px_count_visib' is not a whole number"):
        parse_file(INFOS, file)
