"""This relay beside Mosquitto and NATS: the same load on each, in turn, on one machine.

All three take TLS 1.3 or what is as strong, and clients with certificates of their own.  What is
compared is the CPU time that the server uses, as the operating system accounts for it.
"""
