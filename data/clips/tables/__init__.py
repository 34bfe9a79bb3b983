"""Tables of clips: CSV, TSV, text of Raven and Audacity, JSONL and Parquet."""

from distill.data.clips.tables.opening import TABLE_SUFFIXES as TABLE_SUFFIXES
from distill.data.clips.tables.reading import read_table as read_table
from distill.data.clips.tables.reading import split_name as split_name
