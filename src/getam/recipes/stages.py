"""A recipe in several stages: what each reads and writes; `engine.stages` runs them in one run folder.

GETAM → labels → segmenter is three; classifier → maps → affinity → labels → segmenter, as much of the field does it,
would be five.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from getam.data.collection import Collection
from getam.nets.network import Network
from getam.recipes.base import CommonConfig

Networks = Mapping[str, Network]  # trained, by the name of their stage
LabelRule = Callable[[Networks, Tensor, list[int], Tensor | None], Tensor]
"""(networks, photo (3,H,W) uint8, indices of its tags, saliency (H,W) in [0,1] or None) → label (H,W) uint8.

Beyond 254 classes it is int32."""
SoftLabelRule = Callable[[Networks, Tensor, list[int], Tensor | None], tuple[Tensor, Tensor]]
"""As `LabelRule` → the label, and belief (H,W) float32 in [0,1]: how much of each pixel is an object."""


@dataclass(frozen=True)
class TrainStage:
    """Trains a network.

    Attributes:
        name: of the stage, unique in its recipe.
        recipe: of one stage.
        config: its options.
        labels: name of the stage whose labels stand in for masks; "" where the recipe needs none.
        start: name of the stage whose network it goes on from; "" starts from the backbone's weights.
    """

    name: str
    recipe: Any
    config: CommonConfig
    labels: str = ""
    start: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the stages it reads from."""
        return tuple(name for name in (self.labels, self.start) if name)


@dataclass(frozen=True)
class LabelStage:
    """Labels every photo of the data set.

    Attributes:
        name: of the stage, unique in its recipe.
        needs: names of the stages whose networks label.
        label: how.
        options: all that decides what the labels look like, besides the networks: kept in the stage's record.
        agrees_with: name of an earlier stage of labels: a pixel is undecided where that says otherwise; "" for none.
    """

    name: str
    needs: tuple[str, ...]
    label: LabelRule
    options: Mapping[str, Any] = field(default_factory=dict)
    agrees_with: str = ""


@dataclass(frozen=True)
class SoftLabelStage:
    """Labels every photo of the data set, and says of every pixel how much of it is an object.

    Attributes:
        name, needs, options: as of `LabelStage`.
        label: how.
    """

    name: str
    needs: tuple[str, ...]
    label: SoftLabelRule
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MeanStage:
    """Averages the weights of networks that went on from one: a "model soup" (Wortsman et al., arXiv 2203.05482).

    Attributes:
        name: of the stage, unique in its recipe.
        needs: names of the stages whose networks are averaged, all of one shape.
    """

    name: str
    needs: tuple[str, ...]


Stage = TrainStage | LabelStage | SoftLabelStage | MeanStage


@runtime_checkable
class StagedRecipe(Protocol):
    """A system trained in stages; the last one trains the network that is the recipe's result."""

    name: str
    config_type: type[CommonConfig]
    presets: Mapping[str, Mapping[str, Any]]

    def stages(self, config: Any, collection: Collection) -> Sequence[Stage]:
        """The stages, each needing earlier ones only."""
        ...
