"""The twin: decode, flows and tracker once more, in plain Python, written to be read. It is the specification.

One segment after another, dictionaries for the flow table, dataclasses for connections and their ends, whole numbers that
never overflow. Nothing of the kernels is called. What is shared is data: the state table (``analyzer.tracker.states``), the
catalogue of anomalies and the words of the marks. The compiled kernels must say the same, bit for bit: ``test_twins.py``.

``record``       a packet as a capture file has it
``decode``       from its bytes to a segment, or why there is none: link layers, IP, ICMP errors
``segment``      TCP's header and options
``connection``   what is kept of a connection and of its ends; the arithmetic of sequence numbers
``incarnation``  which connection of a pair of addresses and ports a segment belongs to, and who is the client
``copies``       packets that are seen more than once, and connections on both sides of an address translation
``machine``      the state machine: moves, and what proves or refutes them
``opening``, ``delivery``, ``closing``, ``reset``  what a segment is an event of
``timers``       states that no packet ends
``outcome``      what only the end of the capture shows
``replay``       each segment through its connection, in capture order
``rows``         what came of it, as the rows of the frames
"""
