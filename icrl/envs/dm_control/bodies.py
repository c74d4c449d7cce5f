"""How a task's numbers change the bodies of the control suite: which attributes of its XML they are written to."""

from collections.abc import Mapping
from xml.etree.ElementTree import Element


def change_body(domain: str, tree: Element, params: Mapping[str, float]) -> None:
    """Writes the dynamics of a task into the model of a domain.

    Args:
        domain: "cartpole", "pendulum", "reacher", "walker" or "cheetah".
        tree: the model's XML, changed in place; lengths in m, masses in kg.
        params: the task's; those of its reward are left to others.
    """
    _CHANGES[domain](tree, params)
    # Sky, lights and textures take nine tenths of the time to compile, and move nothing.
    for include in tree.findall("include"):
        tree.remove(include)
    for element in tree.iter():
        element.attrib.pop("material", None)


def _cartpole(tree: Element, params: Mapping[str, float]) -> None:
    pole = tree.find(".//default[@class='pole']/geom")
    _put(pole, fromto=(0, 0, 0, 0, 0, params["pole_length"]), mass=params["pole_mass"])
    _put(_named(tree, "geom", "cart"), mass=params["cart_mass"])


def _pendulum(tree: Element, params: Mapping[str, float]) -> None:
    _put(_named(tree, "geom", "pole"), fromto=(0, 0, 0, 0, 0, params["length"]))
    _put(_named(tree, "geom", "mass"), pos=(0, 0, params["length"]), mass=params["mass"])
    _put(_named(tree, "joint", "hinge"), damping=params["damping"])


def _reacher(tree: Element, params: Mapping[str, float]) -> None:
    length = params["arm_length"]
    _put(_named(tree, "geom", "arm"), fromto=(0, 0, 0, length, 0, 0))
    _put(_named(tree, "body", "hand"), pos=(length, 0, 0))
    _put(tree.find("./default/joint"), damping=params["damping"])


def _walker(tree: Element, params: Mapping[str, float]) -> None:
    _put(tree.find("./default/geom"), density=1000.0 * params["mass"])
    half = 0.25 * params["leg_length"]
    for side in ("right", "left"):
        # The knee stays at the end of the thigh, 0.45 m below the hip; the leg hangs from it.
        _put(_named(tree, "body", f"{side}_leg"), pos=(0, 0, -0.45 - half))
        _put(_named(tree, "joint", f"{side}_knee"), pos=(0, 0, half))
        _put(_named(tree, "geom", f"{side}_leg"), size=(0.04, half))
        _put(_named(tree, "body", f"{side}_foot"), pos=(0.06, 0, -half))


def _cheetah(tree: Element, params: Mapping[str, float]) -> None:
    _put(tree.find("./compiler"), settotalmass=params["mass"])
    # Of two things that touch the rougher one counts, which is the ground: 1 against the cheetah's 0.4.
    _put(_named(tree, "geom", "ground"), friction=(params["friction"], 0.005, 0.0001))


_CHANGES = {
    "cartpole": _cartpole,
    "pendulum": _pendulum,
    "reacher": _reacher,
    "walker": _walker,
    "cheetah": _cheetah,
}


def _named(tree: Element, kind: str, name: str) -> Element:
    return tree.find(f".//worldbody//{kind}[@name='{name}']")


def _put(element: Element, **attributes: float | tuple[float, ...]) -> None:
    for name, value in attributes.items():
        numbers = value if isinstance(value, tuple) else (value,)
        element.set(name, " ".join(repr(float(number)) for number in numbers))
