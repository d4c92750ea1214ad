"""The faster forms of a network: made of it as it is, tried before they are used, and forgotten when it changes."""

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
        ValueError: A batch norm is in training mode.

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
    """Images (N, ...) to try forms on; None: there are none yet, and a form is believed untried."""

    def __init__(self, network: nn.Module) -> None:
        self._network, self.images = network, None
        self._logits: Tensor | None = None
        self._fickle = False
        """Whether the network is changed by being asked: then it has no forms."""
        self._vain = False
        """Whether a form was made anew the last time and did not get any better by that."""
        self._look_up()

    def learn(self, images: Tensor, logits: Tensor) -> None:
        """Be told what the network has just said (N, C) of images (N, ...): an attack begins."""
        self._follow()
        self.images, self._logits = images, logits
        self._found.clear()

    def make(self, form: str) -> nn.Module | None:
        """The network in a form, tried or not; None if it cannot be brought into it."""
        if form not in self._made:
            self._made[form] = rewritten(self._network, form) if can_change(self._network) else None
        return self._made[form]

    def get(self, form: str) -> nn.Module | None:
        """The network in a form, if it has one that says what the network says.

        Raises:
            ValueError: A batch norm is in training mode.
        """
        self._follow()
        if form not in self._found:
            holds = self._holds(form)
            known = self._logits is not None
            if known and not holds and not self._vain:  # perhaps the network has changed and left no trace
                self._look_up()
                holds = self._holds(form)
                self._vain = not holds
            self._found[form] = self.make(form) if holds else None
        return self._found[form]

    def _follow(self) -> None:
        """Forget what was made of the network as it was."""
        if not self._fickle and self._watch.changed():
            self._look_up()
            self._logits, self._vain = None, False

    def _look_up(self) -> None:
        """Begin with the network as it is."""
        check_mode(self._network)
        self._watch = Watch(self._network)
        self._made = dict[str, nn.Module | None]()
        self._proven, self._found = set[str](), dict[str, nn.Module | None]()

    def _holds(self, form: str) -> bool:
        """Whether the network in a form says what the network says, as far as is known of it."""
        found = None if self._fickle else self.make(form)
        if found is None or self.images is None:
            return found is not None
        if form not in self._proven:
            # Half precision may be so far away that only the form before it shows whether the code was followed.
            if form == FORMS[-1] and not self._holds(EXACT):
                return False
            alike = stands_in(found, self._network, self.images, form)
            # What a mere pass changes may be what the next answer depends on.
            self._fickle = self._watch.changed()
            if self._fickle or not alike:
                return False
            self._proven.add(form)
        if self._logits is None:
            return True
        # So too in each attack, but on the first image alone: a form of float32 takes longer.
        first = 1 if form == FORMS[-1] else 0
        parts = ((EXACT, self.images[:first], self._logits[:first]), (form, self.images[first:], self._logits[first:]))
        return all(self._repeats(*part) for part in parts if len(part[1]))

    def _repeats(self, form: str, images: Tensor, logits: Tensor) -> bool:
        """Whether a form says of some images (n, ...) what the network said (n, C)."""
        with suppress(Exception), torch.no_grad():  # the code of a network may do anything when it is run another way
            found = self.make(form)
            return found is not None and agree(ask(found, images), logits, form)
        return False


def can_change(network: nn.Module) -> bool:
    """Whether a network is of float32 throughout, and nothing but the code of its classes decides what it says.

    Example:
        >>> can_change(nn.Linear(3, 2)), can_change(torch.compile(nn.Linear(3, 2)))
        (True, False)
    """
    own = not has_global_hooks() and not any(map(_is_altered, network.modules()))
    return own and {tensor.dtype for tensor in network.parameters()} == {torch.float32}


def _is_altered(part: nn.Module) -> bool:
    hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
    return any(hooks) or "forward" in vars(part) or isinstance(part, torch.jit.ScriptModule)
