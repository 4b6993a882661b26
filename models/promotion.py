"""When a challenger may take the champion's place."""

from typing import Final

from models.report import Report

LABELS: Final = 2000
WORSE: Final = 0.005
"""By how much the calibration error may be worse before it counts as worse: its own noise at 2,000 labels."""


def objections(challenger: Report, champion: Report) -> list[str]:
    """Say what speaks against a promotion; nothing, if the challenger is better and that is sure.

    A challenger scores in the shadow for at least the horizon, on at least 2,000 labelled examples; the user-clustered 95 %
    interval of the difference in log loss lies below 0; its calibration is not worse.
    """
    found = []
    if not challenger.can_score:
        found.append("it cannot be written in plain numbers, and so cannot score in the fold")
    if challenger.warming:
        found.append("it is still warming: too few labels of a class")
    if challenger.shadow < max(challenger.horizon, 1):
        found.append("it has not been scoring for a whole horizon yet")
    compared = challenger.against.get(champion.name)
    if compared is None or compared.examples < LABELS:
        known = 0 if compared is None else compared.examples
        found.append(f"it was compared with {champion.name} on {known} examples; {LABELS} are needed")
    if compared is not None and not compared.high < 0:
        found.append(
            f"its log loss is not surely lower: {compared.mean:+.4f}, between {compared.low:+.4f} and {compared.high:+.4f}"
        )
    ours, theirs = challenger.all.calibration_error, champion.all.calibration_error
    if ours > theirs + WORSE:
        found.append(f"its calibration error is worse: {ours:.4f} against {theirs:.4f}")
    return found
