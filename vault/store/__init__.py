"""The only place that knows SQL: tables, one query module per table family, migrations."""
