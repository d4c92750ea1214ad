"""Rows of a run with a threat of nearly every kind: four images, each of which falls to another of them."""

import json

from frames import images, row

SMALL, LARGE = 1 / 255, 4 / 255


def foggy(severity, wrong, of=4, **columns):
    params = json.dumps({"severity": severity, "constants": "auto"})
    about = {"attack": "corruption/fog", "params": params, "eps": None, "forwards": 1.0, "backwards": 0.0}
    return [row(f"s{i}", adv_class=int(i in wrong), flipped=i in wrong, **about | columns) for i in range(of)]


ROWS = [
    *images([SMALL / 2, None, None, None], attack="apgd", eps=SMALL),
    *images([None, None, None, None], attack="noise", eps=SMALL),
    *images([LARGE, LARGE, None, None], attack="square", eps=LARGE, forwards=7.0, backwards=0.0),
    *images([0.5, None, None, None], attack="spatial", eps=None),
    *images([None, None, SMALL, None], attack="pgd", eps=LARGE, dataset="toy, only border:2"),
    *foggy(1, {0}),
    *foggy(5, {0, 3}),
]
