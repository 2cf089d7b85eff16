"""ainf: a gateway between agents and LLM providers, where every stream ends once, settles once and is audited once."""

__version__ = "0.1.0"
