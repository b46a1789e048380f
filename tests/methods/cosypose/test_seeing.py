"""What the networks see: crops out of parts of images, edges."""

import torch

from pose_models.methods.cosypose.backbones import SmallEncoder, edges
from pose_models.methods.cosypose.crops import cut, windows


def test_what_is_cut_out_of_windows_is_what_is_cut_out_of_the_image():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 3, 60, 80), generator=generator, dtype=torch.uint8)
    corner = torch.rand((40, 2), generator=generator) * torch.tensor([120.0, 100.0]) - 30
    regions = torch.cat([corner, corner + 4 + torch.rand((40, 2), generator=generator) * 20], dim=1)
    regions[0], regions[1] = torch.tensor([-9.0, -9.0, 99.0, 99.0]), torch.tensor([200.0, 200.0, 220.0, 215.0])
    index = torch.arange(40) % 3
    whole = cut(images.float() / 255, index, regions, (12, 16))
    for rows in (slice(0, 2), slice(2, 40), slice(1, 2), slice(5, 6)):  # windows have the size of the largest
        parts, inside = windows(images, index[rows], regions[rows])
        found = cut(parts.float() / 255, torch.arange(len(parts)), inside, (12, 16))
        torch.testing.assert_close(found, whole[rows], atol=1e-4, rtol=0)
    assert windows(images, index[5:6], regions[5:6])[0].shape[2:] < (40, 40)
    assert whole[1].abs().max() == 0


def test_edges_are_the_same_for_light_beside_dark_and_dark_beside_light():
    image = torch.rand((1, 3, 20, 30), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(edges(1 - image), edges(image), atol=1e-5, rtol=0)
    torch.testing.assert_close(edges(image + 0.5), edges(image), atol=1e-5, rtol=0)
    ramp = torch.linspace(0, 1, 30).expand(1, 3, 20, 30)
    cosine, sine, strength = edges(ramp)[0, :, 10, 15]
    assert cosine > 0.9 * strength > 0  # what changes along x has direction 0, along y a half turn
    assert abs(sine) < 1e-6
    assert edges(ramp.transpose(2, 3))[0, 0, 15, 10] < 0
    assert torch.equal(edges(torch.full((1, 3, 9, 9), 0.3)), torch.zeros(1, 3, 9, 9))


def test_the_small_network_tells_where_things_are():
    """Its features keep cells apart: a thing elsewhere gives others."""
    torch.manual_seed(0)
    encoder = SmallEncoder().eval()
    pairs = torch.zeros((2, 6, 36, 48))
    pairs[0, :, 8:16, 8:16], pairs[1, :, 20:28, 32:40] = 1, 1
    with torch.no_grad():
        features = encoder(pairs)
    assert features.shape == (2, SmallEncoder.features, 1, 1)
    assert (features[0] - features[1]).abs().max() > 0.1 * features.abs().max()
