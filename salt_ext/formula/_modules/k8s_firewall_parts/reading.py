"""
Read whatever lets an address into this host: the kernel's rules and sets, and the boot files.

Everything is read whole or is in ``unknown``. A missing program is not an error where the
kernel has nothing of what it would show.
"""

from __future__ import annotations

import contextlib
import gc
import glob
import json
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import (
    errors,
    generation,
    netlink,
    nft,
    nft_bytes,
    programs,
    read_ipset,
    read_iptables,
    read_nft,
    read_saved,
)
from .chains import Analysis, ChainKey, Chains, NamedSet, openings
from .intervals import Interest
from .openings import UNCLEAR, Opening, Reading, XtRule

LIST_RULESET = ["nft", "-j", "list", "ruleset"]
SAVE_IPSETS = ["ipset", "save"]

SAVED = (
    "/etc/iptables/rules.v4",
    "/etc/iptables/rules.v6",
    "/etc/iptables.rules",
    "/etc/ip6tables.rules",
    "/etc/iptables.up.rules",
    "/etc/sysconfig/iptables",
    "/etc/sysconfig/ip6tables",
    "/var/lib/iptables/rules-save",
    "/var/lib/ip6tables/rules-save",
    "/etc/nftables",
    "/etc/nftables/*.nft",
    "/etc/nftables.d/*.nft",
    "/etc/nftables.conf",
    "/etc/sysconfig/nftables.conf",
    "/etc/ufw/*.rules",
    "/lib/ufw/user*.rules",
    "/var/lib/ufw/user*.rules",
    "/etc/firewalld/zones/*.xml",
    "/etc/firewalld/zones/*/*.xml",
    "/etc/firewalld/policies/*.xml",
    "/etc/firewalld/ipsets/*.xml",
    "/etc/firewalld/direct.xml",
    "/etc/iptables/ipsets",
    "/etc/sysconfig/ipset",
    "/etc/sysconfig/ipset.d/*.set",
    "/etc/ipset.conf",
)
"""Where firewalls are loaded from at boot; patterns as in a shell."""


_XT_FAMILIES: Mapping[int, str] = {socket.AF_INET: "iptables", socket.AF_INET6: "ip6tables"}
_MAX_FILE = 64 << 20


@dataclass
class Kernel:
    """The packet filters of the kernel in one form, as far as they could be read."""

    chains: Chains = field(default_factory=dict)
    ipsets: Mapping[str, read_ipset.SavedSet] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    unread_sets: bool = False
    """Whether a rule matches an ipset, and its text was not printed."""
    used_sets: set[str] = field(default_factory=set)


def read(entries: Iterable[str] | None = None, saved: Sequence[str] = SAVED) -> Reading:
    """
    Return every opening of this host, and what could not be read whole.

    entries
        Return only openings that have an address of these; all where it is None.

    saved
        The files that are loaded at boot, also as patterns.
    """
    return read_with_kernel(entries, saved)[0]


def read_named(entries: Sequence[str], saved: Sequence[str] = SAVED) -> Reading:
    """Return the openings that were made for just these; some of larger networks may lack."""
    with _without_collector():
        return _read(Interest(entries), saved, nf_tables=nft_bytes.may_name(entries))[0]


def read_with_kernel(
    entries: Iterable[str] | None, saved: Sequence[str] = SAVED
) -> tuple[Reading, Kernel]:
    """Return the same, and the kernel's chains as packets of these addresses meet them."""
    with _without_collector():
        return _read(Interest(entries), saved)


def _read(
    interest: Interest, saved: Sequence[str], *, nf_tables: bool = True
) -> tuple[Reading, Kernel]:
    files, unknown = read_files(saved)
    kernel, elements = _kernel_and_sets(files, interest, nf_tables=nf_tables)
    found = [*openings(Analysis(kernel.chains), interest), *_unclear_sets(kernel, interest)]
    unknown.update(kernel.unknown)
    set_of = elements.__getitem__
    for one in files:
        form = read_saved.form(one.path, one.text)
        if form == read_saved.IPTABLES:
            found += read_saved.iptables(one, set_of, interest)
        elif form == read_saved.NFT:
            found += read_saved.nft(one, _include(one.path, unknown), interest)
        elif not form:
            found += read_saved.not_understood(one, interest)
    firewalld = read_saved.Firewalld(
        [one for one in files if read_saved.form(one.path, one.text) == read_saved.XML], set_of
    )
    found += firewalld.openings(interest)
    unknown.update(firewalld.unknown)
    return Reading(tuple(dict.fromkeys(found)), unknown), kernel


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Collect no garbage meanwhile: with 20,000 rules that takes as long as reading them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_kernel(address: str) -> Kernel:
    """Return the chains of the kernel as packets of one address meet them."""
    with _without_collector():
        return _kernel_and_sets((), Interest([address]), evaluate=True)[0]


class _Sets(dict[str, NamedSet]):
    """The ipsets by their names, of the kernel and of saved files; notes which are asked for."""

    def __init__(self, files: Sequence[read_saved.Saved]) -> None:
        super().__init__()
        self.saved: Mapping[str, read_ipset.SavedSet] | None = None
        self._files = [one for one in files if read_saved.form(one.path, one.text) == "ipset"]
        self.problem = ""

    def __missing__(self, name: str) -> NamedSet:
        if name.startswith(read_iptables.RECENT):
            self[name] = _read_recent(name.removeprefix(read_iptables.RECENT))
            return self[name]
        if self.saved is None:
            self.saved, self.problem = _read_ipsets()
        one = read_ipset.named_set(name, self.saved, f"ipset {name}")
        one.known = not self.problem
        for file in self._files:
            more = read_saved.ipset_elements(file).get(name)
            for element in more.elements if more else ():
                lines = more.removals.get(element, []) if more else []
                one.removals[element] = [*one.removals.get(element, ()), *lines]
                if element not in one.places and element in one.elements:
                    one.places[element] = f"{one.place}, {file.path}"
                elif element not in one.places:
                    one.places[element] = more.place if more else file.path
                    one.elements = [*one.elements, element]
        self[name] = one
        return one


def _kernel_and_sets(
    files: Sequence[read_saved.Saved],
    interest: Interest,
    *,
    evaluate: bool = False,
    nf_tables: bool = True,
) -> tuple[Kernel, _Sets]:
    kernel, sets = Kernel(), _Sets(files)
    set_of = sets.__getitem__
    if nf_tables:
        _read_nft(kernel, set_of, interest, evaluate=evaluate)
    _read_legacy(kernel, set_of, interest)
    kernel.used_sets = set(sets)
    if kernel.unread_sets and sets.saved is None:
        sets.saved, sets.problem = _read_ipsets()
    kernel.ipsets = sets.saved or {}
    if sets.problem:
        kernel.unknown["ipset"] = sets.problem
    return kernel, sets


def _read_nft(
    kernel: Kernel, set_of: read_iptables.SetOf, interest: Interest, *, evaluate: bool
) -> None:
    before = generation.current(nft.TABLE)
    with ThreadPoolExecutor(max_workers=1) as pool:
        # Meanwhile: most hosts with tables of iptables have rules that nft does not show whole.
        saved = pool.submit(_save_texts)
        try:
            output = programs.run(LIST_RULESET)
        except errors.MissingProgram as exc:
            _without_nft(kernel, set_of, interest, str(exc))
            return
        except errors.CommandFailed as exc:
            # nft fails where the kernel has no nf_tables.
            if _nft_tables() != []:
                kernel.unknown["nft"] = str(exc)
            return
        try:
            document = json.loads(output)
        except ValueError as exc:
            kernel.unknown["nft"] = f"nft -j list ruleset printed no valid JSON: {exc}"
            return
        if problem := read_nft.problem(document):
            kernel.unknown["nft"] = problem
            return
        listing = read_nft.Listing.of(document, interest)
        texts = _texts(listing.opaque(evaluate=evaluate), saved.result())
    steady = not texts or (before != "" and before == generation.current(nft.TABLE))
    reader = read_nft.Reader(document, texts, set_of, listing=listing, steady=steady)
    kernel.chains.update(reader.chains)
    kernel.unknown.update(reader.unknown)
    kernel.unread_sets = reader.unread_sets


def _save_texts() -> dict[str, str]:
    """Return what iptables prints of its tables in nf_tables, by the family."""
    found: dict[str, str] = {}
    for number, name in _nft_tables() or ():
        family = "ip6" if number == socket.AF_INET6 else "ip"
        ours = number in _XT_FAMILIES and name in read_iptables.PRIORITIES
        if ours and family not in found:
            found[family] = _run(_program(family, "-save"))
    return found


def _texts(chains: set[ChainKey], saved: Mapping[str, str]) -> dict[ChainKey, list[str]]:
    """Return the rules of iptables-nft as text, for each of the chains that can be had whole."""
    found: dict[ChainKey, list[str]] = {}
    for family in {key[0] for key in chains}:
        text = saved.get(family, "")
        if text and not read_iptables.cut_off(text):
            for table in read_iptables.tables(text):
                for chain, line, _ in table.rules:
                    found.setdefault((family, table.name, chain), []).append(line)
            continue
        # One rule that iptables does not know hides its whole table, but no other chain.
        for key in sorted(key for key in chains if key[0] == family):
            listed = _run(_program(family), "-w", "-t", key[1], "-S", key[2])
            if listed and "incompatible" not in listed:
                found[key] = [line for line in listed.splitlines() if line.startswith("-A ")]
    return found


def _program(family: str, suffix: str = "") -> str:
    """Return the name of the iptables that works with nf_tables."""
    program = read_nft.PROGRAMS[family]
    plain = f"{program}-nft{suffix}"
    if not programs.installed(plain) and "nf_tables" in _run(program, "--version"):
        return f"{program}{suffix}"
    return plain


def _run(*argv: str) -> str:
    """Return what a program printed; empty where it failed, which the caller reports by itself."""
    try:
        return programs.run(argv)
    except errors.FirewallError:
        return ""


def _nft_tables() -> list[tuple[int, str]] | None:
    """Return the tables of nf_tables; None where the kernel does not say."""
    try:
        return netlink.tables()
    except OSError:
        return None


def _without_nft(kernel: Kernel, set_of: read_iptables.SetOf, interest: Interest, why: str) -> None:
    """Read what iptables-nft shows, on a host that has the program nft not."""
    tables = _nft_tables()
    if tables is None:
        kernel.unknown["nft"] = why
    for number, name in tables or ():
        owner = _XT_FAMILIES.get(number)
        if name not in read_iptables.PRIORITIES or not owner:
            kernel.unknown["nft"] = f"the kernel has the nft table {name}, and {why}"
        elif not programs.installed(f"{owner}-nft-save"):
            kernel.unknown[owner] = f"the kernel has its table {name}, and {why}"
    for family, program in read_nft.PROGRAMS.items():
        save = f"{program}-nft-save"
        if not tables or not programs.installed(save):
            continue
        try:
            text = programs.run([save])
        except errors.CommandFailed as exc:
            kernel.unknown[program] = str(exc)
            continue
        if problem := read_iptables.cut_off(text):
            kernel.unknown[program] = f"{save}: {problem}"
        _add_text(kernel, text, family, f"{program}-nft", program, set_of, interest)


def _read_legacy(kernel: Kernel, set_of: read_iptables.SetOf, interest: Interest) -> None:
    for family, program in read_nft.PROGRAMS.items():
        try:
            names = _legacy_tables(family)
        except OSError as exc:
            kernel.unknown[f"{program}-legacy"] = f"its tables cannot be listed: {exc}"
            continue
        if not names:
            continue
        save = f"{program}-legacy-save"
        if not programs.installed(save):
            # On older systems the plain name is the legacy one.
            save = f"{program}-save"
            if not programs.installed(save) or "nf_tables" in _run(program, "--version"):
                kernel.unknown[f"{program}-legacy"] = (
                    f"the kernel has legacy tables ({', '.join(names)}), and the program "
                    f"{program}-legacy-save is not installed"
                )
                continue
        try:
            text = programs.run([save])
        except errors.CommandFailed as exc:
            kernel.unknown[f"{program}-legacy"] = str(exc)
            continue
        if problem := read_iptables.cut_off(text) or _lacking(text, names):
            kernel.unknown[f"{program}-legacy"] = f"{save}: {problem}"
        _add_text(
            kernel, text, f"{family}-legacy", save.removesuffix("-save"), program, set_of, interest
        )


def _legacy_tables(family: str) -> list[str]:
    """Return the tables of legacy iptables; none where the kernel has not loaded it."""
    try:
        # Threads may be in different namespaces.
        return Path(f"/proc/thread-self/net/{family}_tables_names").read_text().split()
    except FileNotFoundError:
        return []


def _lacking(text: str, names: Sequence[str]) -> str:
    listed = {table.name for table in read_iptables.tables(text)}
    lacking = [name for name in names if name not in listed]
    return f"the table {lacking[0]} is not in the output" if lacking else ""


def _add_text(
    kernel: Kernel,
    text: str,
    family: str,
    program: str,
    shown: str,
    set_of: read_iptables.SetOf,
    interest: Interest,
) -> None:
    def make(table: str, chain: str, at: int, _line: int, rule: str) -> Mapping[str, object]:
        return {"removal": XtRule(program, table, chain, at, rule)}

    def place(table: str, chain: str, at: int) -> str:
        return f"{shown} {table} {chain} rule {at}"

    kernel.chains.update(read_iptables.chains_of(text, family, set_of, place, make, interest))


def _read_recent(name: str) -> NamedSet:
    """Return a list of the match recent; one that no rule in this kernel uses is empty."""
    place = f"/proc/net/xt_recent/{name}"
    if "/" in name or name.startswith("."):
        return NamedSet(place, known=False)
    try:
        text = Path(f"/proc/thread-self/net/xt_recent/{name}").read_text()
    except FileNotFoundError:
        return NamedSet(place)
    except OSError:
        return NamedSet(place, known=False)
    return read_iptables.recent_list(text, place)


def _read_ipsets() -> tuple[Mapping[str, read_ipset.SavedSet], str]:
    """Return the kernel's ipsets; a rule names one of them, so that it has to be read."""
    try:
        return read_ipset.parse(programs.run(SAVE_IPSETS)), ""
    except errors.FirewallError as exc:
        return {}, f"a rule matches an ipset, and {exc}"


def _unclear_sets(kernel: Kernel, interest: Interest) -> Iterator[Opening]:
    """Yield all elements of ipsets where it is not known which rule matches which set."""
    for name, one in kernel.ipsets.items() if kernel.unread_sets else ():
        if name in kernel.used_sets:
            continue
        for interval in read_ipset.addresses_of(one):
            if interest.touches(interval):
                yield Opening(
                    place=f"ipset {name}",
                    text=str(interval),
                    sources=(str(interval),),
                    effect=UNCLEAR,
                    why="rules match ipsets, and nothing prints which",
                )


def read_files(saved: Sequence[str]) -> tuple[list[read_saved.Saved], dict[str, str]]:
    """Return the boot files that exist, each once, and those that could not be read."""
    found: list[read_saved.Saved] = []
    unknown: dict[str, str] = {}
    seen: set[Path] = set()
    for pattern in saved:
        for name in _matching(pattern):
            try:
                path = Path(name).resolve(strict=True)
                if path in seen or not path.is_file():
                    continue
                seen.add(path)
                if path.stat().st_size > _MAX_FILE:
                    raise OSError("it is larger than 64 MiB")
                text = path.read_bytes().decode("utf-8", "surrogateescape")
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, RuntimeError) as exc:
                unknown[name] = f"it cannot be read: {exc}"
                continue
            if "\0" in text:
                unknown[name] = "it is not a text file"
                continue
            found.append(read_saved.Saved(name, text))
    return found, unknown


def unknown_for(unknown: Mapping[str, str], entry: str) -> dict[str, str]:
    """Return what is not known about an entry: not what only concerns the other family."""
    other = ("iptables", "nft ip ") if ":" in entry else ("ip6tables", "nft ip6 ")
    return {what: why for what, why in unknown.items() if not what.startswith(other)}


def _matching(pattern: str) -> list[str]:
    if "*" not in pattern:
        return [pattern]
    # Several times faster than that of pathlib; most of these folders do not exist.
    return sorted(glob.glob(pattern))  # noqa: PTH207


def _include(path: str, unknown: dict[str, str]) -> Any:
    def include(pattern: str) -> list[tuple[str, str]]:
        # As nft does: a relative name is looked for in its own folder first.
        places = [pattern] if pattern.startswith("/") else [
            f"/etc/{pattern}", f"{Path(path).parent}/{pattern}",
        ]  # fmt: skip
        files, problems = read_files(places)
        unknown.update(problems)
        return [(one.path, one.text) for one in files]

    return include
