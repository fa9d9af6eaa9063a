"""Whether an export is still what was written: every file against the manifest beside it."""

from pathlib import Path

from chips_core import atomic, fingerprint
from chips_core.curate.export import MANIFEST, is_export
from chips_core.errors import InputError
from chips_core.store.check import CheckReport, Finding, Severity


def check_export(folder: Path) -> CheckReport:
    """Returns what is damaged, missing or foreign in the folder of an export; nothing is changed."""
    if not is_export(folder):
        raise InputError("That folder is no export.", fix="name a folder that chips export wrote.")
    files = atomic.read_json(folder / MANIFEST)["files"]
    findings = []
    for name, entry in files.items():
        problem = _problem(folder, name, entry)
        if problem:
            findings.append(Finding(name, problem, Severity.DAMAGE))
    there = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    foreign = sorted(set(there) - set(files) - {MANIFEST})
    findings += [Finding(name, "it is not in the manifest", Severity.LEFTOVER) for name in foreign]
    return CheckReport(tuple(findings), len(files), sum(int(entry["bytes"]) for entry in files.values()))


def _problem(folder: Path, name: str, entry: dict[str, object]) -> str:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        return "its name leads out of the export"
    if path.is_symlink() or not path.is_file():
        return "it is missing"
    if path.stat().st_size != entry["bytes"] or fingerprint.of_file(path) != entry["sha256"]:
        return "it is not what was written"
    return ""
