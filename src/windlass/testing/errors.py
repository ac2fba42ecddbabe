"""What the crash tester says of a definition that it cannot try, or that it broke."""

from windlass.core.errors import WindlassError


class ProofError(WindlassError):
    """A definition that was given to the crash tester."""

    code = "proof"


class ProofRefused(ProofError):
    """The crash tester cannot begin here, or cannot go on."""

    code = "proof.refused"
    default_hint = 'call prove from a plain program, or name the definition: prove("flows.py:pipeline")'


class LabelUnknown(ProofError):
    """No place in the product has this label, or the definition does not reach it."""

    code = "proof.label"


class NotDeterministic(ProofError):
    """Two runs that nobody killed came to different things, so nothing can be said about one that was killed."""

    code = "proof.not_deterministic"
    default_hint = "let tasks depend on their inputs alone, and replace clocks, dice and models by fakes"


class ProofFailed(ProofError):
    """A killed run lost something, did something twice, asked wrongly, or did not come to its end."""

    code = "proof.failed"
    default_hint = "the report's `trouble` says where; the same seed makes the same kills"
