"""The faster forms of a network: built from its current state, tested before use, and dropped when it changes."""

from contextlib import suppress

import torch
from torch import Tensor, nn

from attacks.queries.answers import ask
from attacks.queries.modes import check_mode
from attacks.speed.agreement import agree, stands_in
from attacks.speed.folding import EXACT, FORMS, rewritten
from attacks.speed.watch import Watch, has_global_hooks


class Forms:
    """The forms of one network.

    Args:
        network: Images in [0, 1] -> logits.

    Raises:
        ValueError: If a batch norm is in training mode.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval()
        >>> forms, x = Forms(net), torch.rand(2, 3, 2, 2)
        >>> forms.learn(x, net(x))
        >>> forms.get("folded") is None
        False
        >>> forms.learn(x, net(x) + 1)  # as if it had become another network and nobody had noticed
        >>> forms.get("folded") is None
        True
    """

    images: Tensor | None
    """Images (N, ...) to test forms on; None: there are none yet, and forms are trusted untested."""

    def __init__(self, network: nn.Module) -> None:
        self._network, self.images = network, None
        self._logits: Tensor | None = None
        self._fickle = False
        """Whether queries change the network, which then has no forms."""
        self._vain = False
        """Whether the last rebuild of a form did not improve it."""
        self._look_up()

    def learn(self, images: Tensor, logits: Tensor) -> None:
        """Record the network's current logits (N, C) of images (N, ...), as an attack begins."""
        self._follow()
        self.images, self._logits = images, logits
        self._found.clear()

    def make(self, form: str) -> nn.Module | None:
        """The network in a form, tested or not; None if it cannot be converted."""
        if form not in self._made:
            self._made[form] = rewritten(self._network, form) if can_change(self._network) else None
        return self._made[form]

    def get(self, form: str) -> nn.Module | None:
        """The network in a form, if it has one that agrees with the network.

        Raises:
            ValueError: If a batch norm is in training mode.
        """
        self._follow()
        if form not in self._found:
            holds = self._holds(form)
            known = self._logits is not None
            if known and not holds and not self._vain:  # the network may have changed without a trace
                self._look_up()
                holds = self._holds(form)
                self._vain = not holds
            self._found[form] = self.make(form) if holds else None
        return self._found[form]

    def _follow(self) -> None:
        """Drop the forms built from an earlier state of the network."""
        if not self._fickle and self._watch.changed():
            self._look_up()
            self._logits, self._vain = None, False

    def _look_up(self) -> None:
        """Start from the current state of the network."""
        check_mode(self._network)
        self._watch = Watch(self._network)
        self._made = dict[str, nn.Module | None]()
        self._proven, self._found = set[str](), dict[str, nn.Module | None]()

    def _holds(self, form: str) -> bool:
        """Whether a form agrees with the network, as far as is known."""
        found = None if self._fickle else self.make(form)
        if found is None or self.images is None:
            return found is not None
        if form not in self._proven:
            # Half precision may be so far off that only the previous form shows whether the code was traced correctly.
            if form == FORMS[-1] and not self._holds(EXACT):
                return False
            alike = stands_in(found, self._network, self.images, form)
            # The next answer may depend on state that a mere pass changes.
            self._fickle = self._watch.changed()
            if self._fickle or not alike:
                return False
            self._proven.add(form)
        if self._logits is None:
            return True
        # The same in each attack, but only on the first image: a float32 form takes longer.
        first = 1 if form == FORMS[-1] else 0
        parts = ((EXACT, self.images[:first], self._logits[:first]), (form, self.images[first:], self._logits[first:]))
        return all(self._repeats(*part) for part in parts if len(part[1]))

    def _repeats(self, form: str, images: Tensor, logits: Tensor) -> bool:
        """Whether a form's logits of some images (n, ...) match the network's (n, C)."""
        with suppress(Exception), torch.no_grad():  # a network's code may do anything when run in another way
            found = self.make(form)
            return found is not None and agree(ask(found, images), logits, form)
        return False


def can_change(network: nn.Module) -> bool:
    """Whether a network is float32 throughout, and its outputs depend on nothing but the code of its classes.

    Example:
        >>> can_change(nn.Linear(3, 2)), can_change(torch.compile(nn.Linear(3, 2)))
        (True, False)
    """
    own = not has_global_hooks() and not any(map(_is_altered, network.modules()))
    return own and {tensor.dtype for tensor in network.parameters()} == {torch.float32}


def _is_altered(part: nn.Module) -> bool:
    hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
    return any(hooks) or "forward" in vars(part) or isinstance(part, torch.jit.ScriptModule)
