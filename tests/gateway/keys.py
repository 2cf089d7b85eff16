"""The settings of a key, as they stand in the store."""

from typing import Any

from ainf.store.store import Store


async def set_key(store: Store, key_id: str, **settings: Any) -> None:
    """Change the settings of a key by their columns; before its first use, for keys are cached."""
    names = ", ".join(f"{name} = ?" for name in settings)
    await store.write(lambda tx: tx.execute(f"UPDATE keys SET {names} WHERE key_id = ?", [*settings.values(), key_id]))
