"""The recorder of ``captures/``: standard library, ``ip``, ``iptables`` and ``tcpdump``; nothing of the analyzer."""
