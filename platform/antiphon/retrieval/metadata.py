"""What a store knows about each vector beside its numbers."""

import pyarrow as pa
import pyarrow.compute as pc

from antiphon.config import nearest
from antiphon.retrieval.versions import MODALITIES

META_SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # <key>#<modality>
        ("tap", pa.string()),  # which layer of the model the vector is from
        ("modality", pa.string()),
        ("key", pa.string()),  # <corpus>/<key of the utterance>: the two sides of a pair share it
        ("text", pa.string()),
        ("seconds", pa.float32()),
        ("speaker", pa.string()),
        ("language", pa.string()),
        ("domain", pa.string()),
        ("corpus", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),  # where the audio came from: a path, or espeak-ng:<voice>
        ("shard", pa.string()),  # a tar in the corpus's shard folder, with offset and bytes of the sample in it
        ("offset", pa.int64()),
        ("bytes", pa.int64()),
    ]
)
_NEEDED = ("id", "tap", "modality")


def conform(table: pa.Table) -> pa.Table:
    """The metadata with META_SCHEMA's columns in its order, absent ones null. Raises ValueError for others."""
    for name in table.column_names:
        if name not in META_SCHEMA.names:
            raise ValueError(
                f"metadata must have columns of META_SCHEMA, but has {name!r}; {nearest(name, META_SCHEMA.names)}"
            )
    for name in _NEEDED:
        if name not in table.column_names:
            raise ValueError(
                f"metadata must have the columns {', '.join(_NEEDED)}, but has no {name}; add it to each row"
            )
    try:
        columns = [
            pc.cast(table.column(column.name), column.type)
            if column.name in table.column_names
            else pa.nulls(len(table), column.type)
            for column in META_SCHEMA
        ]
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"metadata must have the column types of META_SCHEMA, but {error}; convert the column"
        ) from error
    conformed = pa.Table.from_arrays(columns, schema=META_SCHEMA)
    others = sorted(set(map(str, pc.unique(conformed.column("modality")).to_pylist())) - set(MODALITIES))
    if others or conformed.column("tap").null_count:
        found = f"modality {others[0]!r}" if others else "a row without a tap"
        raise ValueError(
            f"metadata must name a tap and a modality (speech or text) in each row, but has {found}; correct it"
        )
    return conformed
