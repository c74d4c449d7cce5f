"""What returns are measured against, for a description: asked of the family, or as it was kept with the data."""

from dataclasses import dataclass

import numpy as np

from icrl.errors import ChangedFamily, FamilyError, UntrustedCode, UsageError
from icrl.provenance import Provenance
from icrl.store import HistoryStore
from icrl.stored_family import Consent, stored_family


@dataclass(frozen=True)
class KnownAnchors:
    """Means of the anchors over recorded tasks, as far as they are known."""

    random: float = np.nan
    optimum: float = np.nan
    best_policy: str = "optimum"
    note: str = ""
    """Of how many tasks, or why nothing is known."""

    def in_words(self) -> str:
        if np.isnan(self.random):
            return f"random actions and the optimum are not known{self.note}"
        best = "not known" if np.isnan(self.optimum) else f"{self.optimum:.2f}"
        return f"random {self.random:.2f}, task-known {self.best_policy} {best}{self.note}"


def known_anchors(store: HistoryStore, consent: Consent) -> KnownAnchors:
    """From the family where it may be made; else as they were when the data were recorded."""
    provenance = store.provenance
    try:
        family = stored_family(store.path, provenance, store.split, consent).family
    except (UsageError, FamilyError, ChangedFamily) as error:
        if consent.trust_code or consent.family:
            raise
        return _stored_anchors(provenance, "--trust-code" if isinstance(error, UntrustedCode) else str(error))
    tasks = {task.id: task for task in store.split.named(provenance.recorded_split)}
    anchors = family.anchors([tasks[task_id] for task_id in np.unique(store.task_ids).tolist()])
    return KnownAnchors(float(anchors.random.mean()), float(anchors.optimum.mean()), family.best_policy)


def _stored_anchors(provenance: Provenance, why: str) -> KnownAnchors:
    about = provenance.about or {}
    anchors = about.get("anchors")
    try:
        optimum = np.nan if anchors["optimum"] is None else float(anchors["optimum"])
        note = f", means over {int(anchors['tasks'])} tasks when it was recorded"
        return KnownAnchors(float(anchors["random"]), optimum, str(about["best_policy"]), note)
    except (TypeError, KeyError, ValueError, OverflowError):
        return KnownAnchors(note=f" without its code ({why})")
