"""Compiles pillars with Salt's own compiler, without a daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import salt.config
import salt.pillar
import yaml


class Pillars:
    """A master's pillar of one SLS, with our ext_pillar behind it."""

    def __init__(self, folder: Path, *, clusters: dict[str, Any], **options: Any) -> None:
        self.folder = folder
        self.roots = folder / "pillar"
        self.roots.mkdir()
        self.state_dir = folder / "state"
        self.opts = salt.config.master_config(None)
        self.opts.update(
            {
                "root_dir": str(folder),
                "cachedir": str(folder / "cache"),
                "pki_dir": str(folder / "pki"),
                "extension_modules": str(folder / "extmods"),
                "file_client": "local",
                "pillar_roots": {"base": [str(self.roots)]},
                "ext_pillar": [{"k8s_nodes": {}}],
                "k8s_nodes": {"state_dir": str(self.state_dir), "clusters": clusters},
            }
        )
        self.opts.update(options)
        self.write({})

    def write(self, pillar: dict[str, Any]) -> None:
        """Replace the SLS that every minion gets."""
        (self.roots / "top.sls").write_text("base: {'*': [data]}\n")
        (self.roots / "data.sls").write_text(yaml.safe_dump(pillar))

    def accept(self, *minions: str) -> None:
        """Accept the keys of minions."""
        folder = self.folder / "pki" / "minions"
        folder.mkdir(parents=True, exist_ok=True)
        for minion in minions:
            (folder / minion).touch()

    def compile(
        self,
        minion: str = "minion1",
        *,
        grains: dict[str, Any] | None = None,
        override: dict[str, Any] | None = None,
        pillarenv: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Return the pillar of an accepted minion as the master compiles it."""
        self.accept(minion)
        compiler = salt.pillar.Pillar(
            {**self.opts, **options},
            grains or {"id": minion, "os": "Debian"},
            minion,
            "base",
            pillar_override=override,
            pillarenv=pillarenv,
        )
        try:
            found: dict[str, Any] = compiler.compile_pillar()
            return found
        finally:
            compiler.destroy()
