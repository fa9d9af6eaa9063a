"""`check_pool`: every checksum of the pool verified, every finding named by file, and what can be rebuilt dropped.

Repair removes half-written files, unfinished work and damaged artifacts that can be computed again. Pairs, selections
and what reviewers decided are never touched.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from chips_core import atomic, fingerprint
from chips_core.errors import PoolDamaged, PoolTooNew
from chips_core.progress import Progress, Silent
from chips_core.store import artifacts
from chips_core.store.creation import WORK
from chips_core.store.manifest import NAME, Artifact, Manifest, StoredFile, read_manifest
from chips_core.store.pool import Pool, owned_folders
from chips_core.store.review_database import FILE as REVIEW
from chips_core.store.review_database import problems_of

KEPT_KINDS = ("pairs", "selections")  # what cannot be computed again


class Severity(StrEnum):
    """Whether a finding is damage, or only something left behind."""

    DAMAGE = "damage"
    LEFTOVER = "leftover"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be: which file, what, and whether repair put it right."""

    file: str
    problem: str
    severity: Severity
    repaired: bool = False


@dataclass(frozen=True)
class CheckReport:
    """What a check found."""

    findings: tuple[Finding, ...]
    files: int
    bytes: int

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged that was not repaired; leftovers do no harm."""
        return all(finding.repaired or finding.severity is Severity.LEFTOVER for finding in self.findings)

    def in_words(self) -> str:
        """Returns for example `12 files (3,456 bytes) checked: 1 damaged, 2 leftovers`."""
        damaged = sum(finding.severity is Severity.DAMAGE for finding in self.findings)
        rest = f"{damaged:,} damaged, {len(self.findings) - damaged:,} leftovers" if self.findings else "all sound"
        return f"{self.files:,} files ({self.bytes:,} bytes) checked: {rest}"


def check_pool(path: Path, *, repair: bool = False, progress: Progress | None = None) -> CheckReport:
    """Verifies a pool and, with `repair`, drops what can be made again.

    Raises:
        PoolNotFound: there is no pool.
        PoolTooNew: a later version wrote it.
        PoolBusy: another process writes to it, and `repair` was asked for.
    """
    root = path.absolute()
    try:
        manifest = read_manifest(root)
    except PoolTooNew:
        raise
    except PoolDamaged as error:
        return CheckReport((Finding(NAME, error.what, Severity.DAMAGE),), 1, (root / NAME).stat().st_size)
    damage, bad = _damage(root, manifest, progress or Silent())
    leftovers = _leftovers(root, manifest)
    findings = [*damage, *leftovers]
    if repair and findings:
        findings = _repaired(root, findings=findings, bad=bad)
    files = [file for artifact in manifest.artifacts.values() for file in artifact.files]
    return CheckReport(tuple(findings), 1 + len(files), sum(file.bytes for file in files))


def _damage(root: Path, manifest: Manifest, progress: Progress) -> tuple[list[Finding], list[Artifact]]:
    findings, bad = [], []
    progress.start("check", total=sum(f.bytes for a in manifest.artifacts.values() for f in a.files), unit="bytes")
    for artifact in manifest.artifacts.values():
        problems = []
        for file in artifact.files:
            problem = _problem_of(root, file)
            if problem:
                problems.append(Finding(file.path, problem, Severity.DAMAGE))
            progress.advance(file.bytes)
        findings += problems
        bad += [artifact] if problems else []
    findings += [Finding(REVIEW, problem, Severity.DAMAGE) for problem in problems_of(root, pool_id=manifest.id)]
    return findings, bad


def _problem_of(root: Path, file: StoredFile) -> str:
    try:
        path = artifacts.check_size(root, file)
        return "" if fingerprint.of_file(path) == file.sha256 else "its bytes are not those that were written"
    except PoolDamaged as error:
        return error.what
    except OSError as error:
        return f"it cannot be read ({error.strerror})"


def _leftovers(root: Path, manifest: Manifest) -> list[Finding]:
    """Returns half-written, unfinished and unnamed files in the folders that the store owns."""
    named = {root / file.path for artifact in manifest.artifacts.values() for file in artifact.files}
    work = root / WORK
    found = [Finding(str(p.relative_to(root)), "unfinished work", Severity.LEFTOVER) for p in sorted(work.glob("*"))]
    for folder in owned_folders(root, manifest):
        if folder == work or work in folder.parents or (folder.parent.name == "features" and not _holds(folder, named)):
            continue
        for path in sorted(folder.iterdir()):
            ours = path.name.startswith((atomic.TEMPORARY, "pairs-")) or folder != root
            if ours and path not in named and not (folder.name == "features" and _holds(path, named)):
                found.append(Finding(str(path.relative_to(root)), "half-written or not named", Severity.LEFTOVER))
    return found


def _holds(folder: Path, named: set[Path]) -> bool:
    return any(folder in path.parents for path in named)


def _repaired(root: Path, *, findings: list[Finding], bad: list[Artifact]) -> list[Finding]:
    pool = Pool.open_damaged(root)
    with pool.writing("check --repair"):
        dropped = {file.path for artifact in bad if artifact.kind not in KEPT_KINDS for file in artifact.files}
        for artifact in bad:
            if artifact.kind not in KEPT_KINDS:
                pool.remove(artifact.kind, artifact.name)
        result = []
        for finding in findings:
            if finding.severity is Severity.LEFTOVER:
                atomic.remove(root / finding.file)
            repaired = finding.severity is Severity.LEFTOVER or finding.file in dropped
            result.append(Finding(finding.file, finding.problem, finding.severity, repaired))
    return result
