# Place, light and photograph scenes in Blender: what pose_models/synthesis/blender.py has drawn.
#
# Run by `blenderproc run`, with the path of a plan (JSON, lengths in mm) as its only argument. Beside the plan it
# leaves `poses.json` with the poses of objects and cameras, and per image `rgb_<n>.png`, `depth_<n>.npy` (float32 mm,
# at pixel centres, 0 where nothing is), `instance_<n>.png` (uint16: 1 + number of the object in the scene, 0: room).
# blenderproc demands to be imported in the first line of code.
import blenderproc as bproc

# isort: split
import faulthandler
import json
import sys
from pathlib import Path

import bpy
import cv2
import numpy as np
from blenderproc.python.writer.WriterUtility import _WriterUtility

MM = 1e-3  # metres
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # Blender's cameras look along -z with y up
TRIES = 300  # of a place for one object


def load_model(path):
    """A model, hidden, its vertices in metres; its first material can be changed."""
    (model,) = bproc.loader.load_obj(path)
    model.set_scale([MM] * 3)
    model.persist_transformation_into_mesh()
    model.set_shading_mode("auto")
    model.hide(True)
    return model


def make_room(half):
    """Floor and four walls, fixed for physics."""
    turn = np.pi / 2
    walls = [
        ([0, -half], [-turn, 0, 0]),
        ([0, half], [turn, 0, 0]),
        ([half, 0], [0, -turn, 0]),
        ([-half, 0], [0, turn, 0]),
    ]
    size = [half, half, 1]
    planes = [bproc.object.create_primitive("PLANE", scale=size)]
    for (x, y), rotation in walls:
        planes.append(bproc.object.create_primitive("PLANE", scale=size, location=[x, y, half], rotation=rotation))
    for plane in planes:
        fix(plane, active=False, collision_shape="BOX")
    return planes


def fix(thing, active, **options):
    """Make a thing a rigid body as BlenderProc4BOP does: much friction, so that objects come to rest."""
    thing.enable_rigidbody(active, mass=1.0, friction=100.0, linear_damping=0.99, angular_damping=0.99, **options)


def set_material(thing, look, plain):
    """Physically based material: colour only where the model has none of its own."""
    material = thing.get_materials()[0].duplicate()
    if plain:
        material.set_principled_shader_value("Base Color", [*look["color"], 1.0])
    for name, key in (("Roughness", "roughness"), ("Specular IOR Level", "specular"), ("Metallic", "metallic")):
        material.set_principled_shader_value(name, look[key])
    thing.replace_materials(material)


def light(scene, lamp_plane, lamp):
    """The glowing ceiling and the point light."""
    material = bproc.material.create("ceiling")
    material.make_emissive(scene["ceiling_strength"], [*scene["ceiling_color"], 1.0])
    lamp_plane.replace_materials(material)
    lamp.set_energy(scene["lamp_watt"])
    lamp.set_color(scene["lamp_color"])
    lamp.set_location(np.array(scene["lamp_mm"]) * MM)


def place(things, room, plan, rng):
    """Drop the things; those that found no free place in the air are left out."""
    half, height = (np.array(plan[key]) * MM for key in ("drop_half_mm", "drop_height_mm"))

    def draw_pose(thing):
        low = -rng.uniform(half[0], half[1], 2)
        high = rng.uniform(half[0], half[1], 2)
        top = rng.uniform(*height)
        thing.set_location(rng.uniform([*low, 0.0], [*high, top]))
        thing.set_rotation_euler(bproc.sampler.uniformSO3())

    found = bproc.object.sample_poses(things, draw_pose, objects_to_check_collisions=[*things, *room], max_tries=TRIES)
    for thing, (_, is_placed) in found.items():
        if not is_placed:
            thing.disable_rigidbody()
            thing.hide(True)
    placed = [thing for thing in things if found[thing][1]]
    bproc.object.simulate_physics_and_fix_final_poses(
        min_simulation_time=3,
        max_simulation_time=10,
        check_object_interval=1,
        substeps_per_frame=plan["physics_substeps"],
        solver_iters=25,
    )
    return placed


def aim(placed, targets, plan, count, rng):
    """Cameras (count, 4, 4) on a shell around the pile, each looking at an object in the middle of some of them."""
    tree = bproc.object.create_bvh_tree_multi_objects(placed)
    near, far = (value * MM for value in plan["distance_mm"])
    low, high = plan["elevation_deg"]
    cameras = []
    for _ in range(200 * count):
        at = bproc.sampler.shell([0, 0, 0], near, far, elevation_min=low, elevation_max=high)
        some = rng.choice(len(targets), size=max(1, round(0.75 * len(targets))), replace=False)
        interest = bproc.object.compute_poi([targets[index] for index in some])
        roll = rng.uniform(-np.pi, np.pi)
        R = bproc.camera.rotation_from_forward_vec(interest - at, inplane_rot=roll)
        T = bproc.math.build_transformation_mat(at, R)
        if bproc.camera.perform_obstacle_in_view_check(T, {"min": plan["nearest_mm"] * MM}, tree):
            cameras.append(T)
        if len(cameras) == count:
            return cameras
    sys.exit("bopflow: error: no place for a camera: distance_mm is too short for nearest_mm and the pile")


def photograph(folder, first, count):
    """Render colours with all samples; then, at pixel centres, who is seen and how deep."""
    colors = bproc.renderer.render()["colors"]
    # One sample through the middle of each pixel; it writes the depth images once more, over the first ones.
    instances = bproc.renderer.render_segmap(map_by=["instance", "name"], default_values={"name": ""})
    depths = _WriterUtility.load_registered_outputs({"depth"})["depth"]
    for index in range(count):
        names = {entry["idx"]: entry["name"] for entry in instances["instance_attribute_maps"][index]}
        numbers = np.zeros(max(names) + 1, dtype=np.uint16)
        for key, name in names.items():
            numbers[key] = int(name.removeprefix("object ")) + 1 if name.startswith("object ") else 0
        depth = depths[index] / MM
        depth[depth > 1e6] = 0.0  # nothing there
        number = first + index
        cv2.imwrite(str(folder / f"rgb_{number}.png"), colors[index][..., ::-1])
        cv2.imwrite(str(folder / f"instance_{number}.png"), numbers[instances["instance_segmaps"][index]])
        np.save(folder / f"depth_{number}.npy", depth.astype(np.float32))


def pose(matrix):
    """A transform of Blender's, in mm, as nested lists."""
    T = np.array(matrix, dtype=np.float64)
    T[:3, 3] /= MM
    return T.tolist()


def main(path):
    """Make all scenes of a plan."""
    plan = json.loads(path.read_text())
    bproc.init()
    bproc.renderer.set_render_devices(use_only_cpu=plan["device"] == "cpu")
    if plan["device"] == "cuda" and bpy.context.scene.cycles.device != "GPU":
        sys.exit("bopflow: error: no GPU that Cycles can use was found; use --device cpu")
    bproc.renderer.set_cpu_threads(plan["threads"])
    bproc.renderer.enable_depth_output(activate_antialiasing=False)
    bproc.renderer.set_max_amount_of_samples(plan["samples"])
    nearest = min(0.1, 0.5 * plan["nearest_mm"] * MM)
    K = np.array(plan["K"])
    bproc.camera.set_intrinsics_from_K_matrix(K, plan["width"], plan["height"], clip_start=nearest)
    models = {key: load_model(model["path"]) for key, model in plan["models"].items()}
    half = plan["room_half_mm"] * MM
    room = make_room(half)
    lamp_plane = bproc.object.create_primitive("PLANE", scale=[1.5 * half, 1.5 * half, 1], location=[0, 0, 5 * half])
    lamp = bproc.types.Light()
    written, first = [], 0
    for number, scene in enumerate(plan["scenes"]):
        print(f"bopflow: placing scene {number}", flush=True)
        faulthandler.dump_traceback_later(plan["placing_limit_s"], exit=True)  # physics can hang, in C too
        rng = np.random.default_rng(scene["seed"])
        np.random.seed(scene["seed"])  # noqa: NPY002  (blenderproc's samplers draw from it)
        things = []
        for index, item in enumerate(scene["objects"]):
            thing = models[item["model"]].duplicate()
            thing.set_name(f"object {index}")
            set_material(thing, item, plan["models"][item["model"]]["is_plain"])
            fix(thing, active=True, collision_margin=plan["collision_margin_mm"] * MM)
            thing.hide(False)
            things.append(thing)
        light(scene, lamp_plane, lamp)
        (texture,) = bproc.loader.load_ccmaterials(scene["texture_folder"], use_all_materials=True)
        for plane in room:
            plane.replace_materials(texture)
        placed = place(things, room, plan, rng)
        targets = [t for t, item in zip(things, scene["objects"], strict=True) if item["is_target"] and t in placed]
        if not targets:
            sys.exit("bopflow: error: no object found a free place; make drop_half_mm and drop_height_mm larger")
        bproc.utility.reset_keyframes()
        cameras = aim(placed, targets, plan, scene["images"], rng)
        faulthandler.cancel_dump_traceback_later()
        for frame, T in enumerate(cameras):
            bproc.camera.add_camera_pose(T, frame=frame)
        print(f"bopflow: rendering scene {number}", flush=True)
        photograph(path.parent, first, scene["images"])
        poses = {things.index(t): pose(t.get_local2world_mat()) for t in placed}
        written.append({"objects": poses, "cameras": [pose(T @ FLIP) for T in cameras]})
        first += scene["images"]
        for thing in things:
            thing.delete(remove_all_offspring=True)
    (path.parent / "poses.json").write_text(json.dumps(written))
    print(f"bopflow: rendered on the {bpy.context.scene.cycles.device}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
