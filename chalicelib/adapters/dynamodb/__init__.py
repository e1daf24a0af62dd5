"""DynamoDB: the ledger in one table, the items that it holds there, and how a table is asked."""

from __future__ import annotations

from chalicelib.adapters.dynamodb.items import SHARDS, TABLE
from chalicelib.adapters.dynamodb.ledger import DynamoLedger

__all__ = ["SHARDS", "TABLE", "DynamoLedger"]
