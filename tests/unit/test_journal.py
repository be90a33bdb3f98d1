"""What is asked of the journal; no test here may use the database."""

from payments.journal import uses_of_payments, uses_of_refunds


def test_of_none_nobody_is_asked() -> None:
    """Most payments that are claimed are new."""
    assert uses_of_payments([]) == uses_of_refunds([]) == {}
