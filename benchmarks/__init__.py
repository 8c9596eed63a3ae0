"""How fast the vault is, next to a server that does nothing: `python -m benchmarks`, or `--quick`.

What is measured:
- The vault as shipped (`pii-vault serve`, one process) on SQLite and on PostgreSQL, both durable, with TLS, client certificates and the audit
  log; and a bare `grpc.aio` server that answers the same messages over the same TLS (`echo.py`). Everything runs in processes of its own.
- A closed loop: a given number of calls is in flight at any moment, each followed by the next. Throughput and latency are what the load client
  sees inside a window that begins after a warm-up; CPU is that of the server's process and of the database's processes inside the same window.
- Servers take turns within every round, so that whatever else the machine does meets them alike. Ratios are formed within a round.

What is not measured: the network, several workers, people's tokens, the OpenTelemetry exporter, a database on another machine, cold caches,
more data than fits in memory. The load client shares the machine's cores with the servers: where it is busy all the time, it is the client whose
limit was found, and only the CPU figures compare servers. Absolute figures are this machine's on that day; compare ratios.

Nothing passes or fails by speed. An error of any call makes the run fail, because it then measured something else.
"""
