"""For users and for us: clocks, conformance suite, fakes; imported by nothing in the product."""
