"""Asks a language model behind an HTTP endpoint many questions at a time.

batch     workers that ask, retry and parse the answers, in a thread of their own
backoff   waiting times and the circuit breaker
budget    prices, and a budget that is never exceeded
endpoint  sends one question to an endpoint
replies   parses what the endpoint sends back: answers and failures
"""
