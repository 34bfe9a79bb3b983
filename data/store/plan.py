"""The plan of a store: what its embeddings are, and the clips of its rows, in order.

The ids are in two files, which only grow. `plan.json` is small, is replaced atomically, and states how much of the two
files counts. So a reader and a kill at any time see the plan of before or the extended one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import StoreError
from distill.data.files import write_json
from distill.data.store.format import READABLE_SCHEMAS, SCHEMA, RowFormat, read_json
from distill.data.store.texts import Texts

PLAN, IDS, ENDS = "plan.json", "ids.bin", "ids.ends"
_OF_EARLIER_PLANS = ("plan", "windows")  # digests of the clips, which a store of today may gain and lose


@dataclass(frozen=True)
class Plan:
    """What a store holds.

    Args:
        fingerprint: JSON values of all that determines an embedding.
        origin: JSON values about the embeddings that do not determine them, such as the licence of the weights.
        rows_per_shard: Rows of each shard. The last shard may have fewer.
        ids: Clips of all rows, in order.
    """

    fingerprint: Mapping[str, Any]
    origin: Mapping[str, Any]
    rows_per_shard: int
    ids: Texts

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read the plan of a store. Raises StoreError if it is damaged or of a later version."""
        if not (folder / PLAN).is_file():
            raise StoreError(f"{folder} is not a store of embeddings; `distill embed --out {folder}` writes one")
        plan = read_json(folder / PLAN)
        schema = plan["fingerprint"].get("schema")
        if schema not in READABLE_SCHEMAS:
            raise StoreError(f"{folder} has format {schema}; this version reads format {SCHEMA}")
        ids = Texts.of(plan["ids"]) if "ids" in plan else _read_ids(folder, plan["clips"], plan["bytes"])
        return cls(plan["fingerprint"], plan.get("origin", {}), plan["rows_per_shard"], ids)

    @property
    def row_format(self) -> RowFormat:
        """Size and type of a row."""
        return RowFormat.of(self.fingerprint)

    @property
    def shard_count(self) -> int:
        """Number of shards."""
        return -(-len(self.ids) // self.rows_per_shard)

    def rows(self, shard: int) -> range:
        """Return the rows that a shard holds."""
        return range(shard * self.rows_per_shard, min((shard + 1) * self.rows_per_shard, len(self.ids)))

    def ids_of(self, shard: int) -> Texts:
        """Return the clips of a shard."""
        rows = self.rows(shard)
        return self.ids[rows.start : rows.stop]

    def write(self, folder: Path) -> None:
        """Write the plan of a new store."""
        _append(folder / IDS, 0, self.ids.data)
        _append(folder / ENDS, 0, self.ids.ends.astype("<i8"))
        self._write_facts(folder)

    def extended(self, folder: Path, ids: Texts) -> Plan:
        """Return the plan with further clips at its end, after writing it."""
        fingerprint = {name: value for name, value in self.fingerprint.items() if name not in _OF_EARLIER_PLANS}
        plan = replace(self, ids=Texts.joined([self.ids, ids]), fingerprint=fingerprint | {"schema": SCHEMA})
        if self.fingerprint["schema"] != SCHEMA:  # its ids are in plan.json
            plan.write(folder)
            return plan
        _append(folder / IDS, len(self.ids.data), ids.data)
        _append(folder / ENDS, 8 * len(self.ids), plan.ids.ends[len(self.ids) :].astype("<i8"))
        plan._write_facts(folder)
        return plan

    def _write_facts(self, folder: Path) -> None:
        write_json(
            folder / PLAN,
            {
                "fingerprint": dict(self.fingerprint),
                "origin": dict(self.origin),
                "rows_per_shard": self.rows_per_shard,
                "clips": len(self.ids),
                "bytes": len(self.ids.data),
            },
        )


def _read_ids(folder: Path, clips: int, size: int) -> Texts:
    """Read the ids of a plan. Raises StoreError if a file is too short."""
    try:
        data = np.fromfile(folder / IDS, np.uint8, count=size)
        ends = np.fromfile(folder / ENDS, "<i8", count=clips).astype(np.int64, copy=False)
    except FileNotFoundError as error:
        raise StoreError(f"{error.filename} is missing; delete the store and embed again") from error
    if len(data) != size or len(ends) != clips or (clips and int(ends[-1]) != size):
        raise StoreError(f"{folder / IDS} is damaged; delete the store and embed again")
    return Texts(data, ends)


def _append(path: Path, begin: int, values: NDArray[Any]) -> None:
    """Write values from byte `begin` of a file on. Bytes after it are those of a killed writer, and are cut."""
    with open(path, "r+b" if path.exists() else "xb") as file:
        file.truncate(begin)
        file.seek(begin)
        file.write(values.data)
        file.flush()
        os.fsync(file.fileno())
