"""Tells Salt where the loader modules of this package are."""

from importlib.util import find_spec

_KINDS = ("engines", "pillar", "runners")


# Salt tests isinstance(x, types.FunctionType): a decorated `dirs` makes the extension vanish.
def dirs() -> dict[str, list[str]]:
    """Return the folders of each loader type, in a wheel or in a checkout."""
    specs = {kind: find_spec(f"salt_ext.{kind}") for kind in _KINDS}
    return {
        kind: list(spec.submodule_search_locations or ()) for kind, spec in specs.items() if spec
    }
