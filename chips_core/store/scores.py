"""What a table of scores must keep: finite values, and null only for pairs that cannot be read."""

from collections.abc import Mapping
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa

from chips_core.store.features import Features
from chips_core.store.manifest import Artifact
from chips_core.store.tables import refuse_not_finite, refuse_wrong_nulls


class _Pairs(Protocol):
    """What this check needs of the pool."""

    def kept(self, columns: list[str] | None = None) -> pd.DataFrame: ...

    def feature_sets(self) -> list[Artifact]: ...

    def features(self, name: str | None = None, *, verify: bool = True) -> Features: ...


def check(pool: _Pairs, name: str, *, table: pa.Table, record: Mapping[str, Any]) -> None:
    """Raises InputError for a score that is not finite, and unless exactly the readable pairs in it have scores.

    Readable are the kept pairs; where the pool is encoded, those of them with features. The features are those named in
    `record["features"]`, else the newest ones.
    """
    refuse_not_finite(table, name=name)
    refuse_wrong_nulls(table, name=name, readable=_readable(pool, record))


def _readable(pool: _Pairs, record: Mapping[str, Any]) -> pa.Array:
    ids = pool.kept(["pair_id"])["pair_id"]
    if pool.feature_sets():
        named = record.get("features")
        ids = ids[pool.features(named if isinstance(named, str) else None, verify=False).done]
    return pa.array(ids, type=pa.string())
