"""Keeps report text where it may be: every client of an endpoint passes this gate.

policy     which dataset's text may go to which endpoint: `permit`
transport  the HTTP client that is held to a permit
"""
