"""The relay, without sockets: clocks, transports and stores in memory."""
