"""Durable records: keys, caps, holds, settlements, the audit chain. The only room that knows database drivers."""
