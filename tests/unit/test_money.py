import pytest

from payments.money import AmountNotChargeable, check_chargeable, decimals, display


@pytest.mark.parametrize(
    ("currency", "amount", "shown"),
    [
        ("EUR", 1250, "€12.50"),
        ("USD", -5, "-$0.05"),
        ("JPY", 500, "¥500"),
        ("KWD", 1250, "KWD 1.250"),
        ("ISK", 150000, "ISK 1,500"),
        ("EUR", 123456789, "€1,234,567.89"),
    ],
)
def test_amounts_are_shown_as_people_write_them(currency: str, amount: int, shown: str) -> None:
    assert display(amount=amount, currency=currency) == shown


def test_stripes_table_not_isos() -> None:
    assert [decimals(each) for each in ("JPY", "UGX", "ISK", "EUR", "TND")] == [0, 2, 2, 2, 3]


@pytest.mark.parametrize(("currency", "amount"), [("EUR", 50), ("JPY", 50), ("ISK", 10000), ("KWD", 1250)])
def test_what_the_bank_takes(currency: str, amount: int) -> None:
    check_chargeable(amount=amount, currency=currency)


@pytest.mark.parametrize(
    ("currency", "amount", "says"),
    [
        ("EUR", 49, "start at €0.50"),
        ("EUR", 0, "start at"),
        ("EUR", 100_000_000, "at most"),
        ("ISK", 10050, "multiple of 100"),
        ("KWD", 1251, "multiple of 10"),
    ],
)
def test_what_the_bank_would_refuse(currency: str, amount: int, says: str) -> None:
    with pytest.raises(AmountNotChargeable, match=says):
        check_chargeable(amount=amount, currency=currency)
