"""Where modules are now that files written for an earlier release may import: there they are found, with a warning."""

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "icrl.envs.resolve": "icrl.places",
    "icrl.envs.base": "icrl.envs.kit.base",
    "icrl.envs.stepping": "icrl.envs.kit.stepping",
    "icrl.envs.answers": "icrl.envs.kit.answers",
    "icrl.envs.episodes": "icrl.envs.kit.episodes",
    "icrl.envs.gymnasium_family": "icrl.envs.kit.gymnasium_family",
    "icrl.envs.parametric": "icrl.envs.kit.parametric",
    "icrl.envs.parameter": "icrl.envs.kit.parameter",
    "icrl.envs.pool": "icrl.envs.kit.pool",
    "icrl.envs.measured": "icrl.envs.kit.measured",
    "icrl.envs.drawing": "icrl.envs.kit.drawing",
    "icrl.envs.nested": "icrl.envs.kit.nested",
    "icrl.envs.simple_policies": "icrl.envs.kit.simple_policies",
    "icrl.envs.bandit": "icrl.envs.bandits.multi_armed",
    "icrl.envs.varied_bandit": "icrl.envs.bandits.varied",
    "icrl.envs.linear_bandit": "icrl.envs.bandits.linear",
    "icrl.envs.linear_bandit_drawing": "icrl.envs.bandits.linear_drawing",
    "icrl.envs.gittins": "icrl.envs.bandits.gittins",
    "icrl.envs.dark_room": "icrl.envs.grids.dark_room",
    "icrl.envs.dark_room_macro": "icrl.envs.grids.dark_room_macro",
    "icrl.envs.key_to_door": "icrl.envs.grids.key_to_door",
    "icrl.envs.maze": "icrl.envs.grids.maze",
    "icrl.envs.maze_layouts": "icrl.envs.grids.maze_layouts",
    "icrl.envs.maze_map": "icrl.envs.grids.maze_map",
    "icrl.envs.grid_navi": "icrl.envs.grids.grid_navi",
    "icrl.envs.grid_navi_belief": "icrl.envs.grids.grid_navi_belief",
    "icrl.envs.t_maze": "icrl.envs.grids.t_maze",
    "icrl.envs.t_maze_drawing": "icrl.envs.grids.t_maze_drawing",
    "icrl.envs.wiring": "icrl.envs.grids.wiring",
    "icrl.envs.grid": "icrl.envs.grids.cells",
    "icrl.envs.tabular_mdp": "icrl.envs.mdp.tabular",
    "icrl.envs.tabular_mdp_drawing": "icrl.envs.mdp.drawing",
    "icrl.envs.point_robot": "icrl.envs.plane.point_robot",
    "icrl.envs.point_family": "icrl.envs.plane.family",
    "icrl.envs.plane_walk": "icrl.envs.plane.walk",
    "icrl.envs.plane_drawing": "icrl.envs.plane.drawing",
    "icrl.envs.watermaze": "icrl.envs.plane.watermaze",
    "icrl.envs.acrobot": "icrl.envs.classic.acrobot",
    "icrl.envs.cartpole": "icrl.envs.classic.cartpole",
    "icrl.envs.pendulum": "icrl.envs.classic.pendulum",
    "icrl.envs.mountain_car": "icrl.envs.classic.mountain_car",
    "icrl.envs.classic_control": "icrl.envs.classic.family",
    "icrl.envs.classic_drawing": "icrl.envs.classic.drawing",
    "icrl.envs.mujoco": "icrl.envs.locomotion.family",
    "icrl.envs.mujoco_rand_params": "icrl.envs.locomotion.rand_params",
    "icrl.envs.mujoco_drawing": "icrl.envs.locomotion.drawing",
    "icrl.envs.meta_world": "icrl.envs.meta_world.family",
    "icrl.envs.meta_world_benchmark": "icrl.envs.meta_world.benchmark",
    "icrl.envs.meta_world_drawing": "icrl.envs.meta_world.drawing",
    "icrl.envs.meta_world_expert": "icrl.envs.meta_world.expert",
    "icrl.envs.mini_grid": "icrl.envs.mini_grid.families",
    "icrl.envs.mini_grid_family": "icrl.envs.mini_grid.family",
    "icrl.envs.mini_grid_batch": "icrl.envs.mini_grid.batch",
    "icrl.envs.mini_grid_drawing": "icrl.envs.mini_grid.drawing",
    "icrl.envs.mini_grid_expert": "icrl.envs.mini_grid.expert",
    "icrl.envs.mini_grid_layouts": "icrl.envs.mini_grid.layouts",
    "icrl.envs.mini_grid_plan": "icrl.envs.mini_grid.shortest_way",
    "icrl.envs.xland": "icrl.envs.xland.family",
    "icrl.envs.xland_batch": "icrl.envs.xland.batch",
    "icrl.envs.xland_drawing": "icrl.envs.xland.drawing",
    "icrl.envs.xland_rules": "icrl.envs.xland.rules",
    "icrl.envs.xland_rulesets": "icrl.envs.xland.rulesets",
    "icrl.envs.dm_control_bodies": "icrl.envs.dm_control.bodies",
    "icrl.envs.dm_control_drawing": "icrl.envs.dm_control.drawing",
    "icrl.envs.dm_control_expert": "icrl.envs.dm_control.expert",
    "icrl.envs.dm_control_family": "icrl.envs.dm_control.family",
    "icrl.envs.dm_control_suite": "icrl.envs.dm_control.suite",
    "icrl.conformance": "icrl.envs.kit.conformance.checks",
    "icrl.conformance_subject": "icrl.envs.kit.conformance.subject",
    "icrl.conformance_tasks": "icrl.envs.kit.conformance.tasks",
    "icrl.catalogue": "icrl.commands.tasks",
    "icrl.check_family": "icrl.commands.check_family",
    "icrl.show": "icrl.commands.show",
    "icrl.data_gen.describe": "icrl.data_gen.inspect_dataset",
    "icrl.data_gen.processes": "icrl.data_gen.spread",
    "icrl.data_gen.learner": "icrl.data_gen.learners.protocol",
    "icrl.data_gen.bandit_learners": "icrl.data_gen.learners.bandit",
    "icrl.data_gen.linear_bandit_learners": "icrl.data_gen.learners.linear_bandit",
    "icrl.data_gen.mdp_learners": "icrl.data_gen.learners.mdp",
    "icrl.data_gen.q_learning": "icrl.data_gen.learners.q_learning",
    "icrl.data_gen.noise_distillation": "icrl.data_gen.learners.noise_distillation",
    "icrl.data_gen.reference_policies": "icrl.data_gen.learners.reference_policies",
    "icrl.eval.report": "icrl.eval.report.page",
    "icrl.eval.report_figures": "icrl.eval.report.figures",
    "icrl.eval.report_style": "icrl.eval.report.style",
    "icrl.train.pretrain": "icrl.train.train",
    "icrl.models.transformer": "icrl.models.model",
    "icrl.models.attention": "icrl.models.backbones.attention",
    "icrl.models.cache": "icrl.models.backbones.cache",
    "icrl.models.kernels": "icrl.models.backbones.kernels",
}
"""Old names of modules and new ones."""


class _Earlier(MetaPathFinder, Loader):
    """Finds a module by its old name, after all others have found none: the module of the new name itself."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        warnings.warn(f"{spec.name} is {MOVED[spec.name]} now: import it from there", DeprecationWarning, stacklevel=5)
        module = import_module(MOVED[spec.name])
        spec.loader_state = module.__spec__
        return module

    def get_code(self, name: str) -> Any:
        """For `python -m`, which takes no other name for a program."""
        raise ImportError(f"{name} is {MOVED[name]} now: start that")

    def exec_module(self, module: ModuleType) -> None:
        # The import gave it the old name's spec: it has run under its own.
        old, module.__spec__ = module.__spec__, module.__spec__.loader_state
        sys.modules[old.name] = module


def find_earlier_names() -> None:
    """From now on old names can be imported."""
    sys.meta_path.append(_Earlier())
