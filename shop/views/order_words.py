"""What the order page says for every state of an order and its payment: pure, and honest about what is not known.

Three promises: nothing is called paid before the bank said so, nothing is called uncharged while money may still
move, and whoever might pay twice is told not to.
"""

import enum
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from payments.models import Payment
from payments.money import display
from shop.models import Order
from shop.process_managers import CANCELLABLE, HOLD_EXPIRED, SHOPPER
from shop.selectors import MoneyBack
from shop.views import declines


class Tone(enum.StrEnum):
    """How the headline looks; also the icon beside it."""

    BUSY = "busy"
    GOOD = "good"
    ASK = "ask"  # the shopper has to do something
    CALM = "calm"  # somebody else has to, and it may take a while
    DONE = "done"  # it is over as it should be: nobody owes anything
    BAD = "bad"


class Poll(enum.StrEnum):
    """How soon the page should look again."""

    SOON = "soon"
    LATER = "later"
    RARELY = "rarely"  # it is over, but money may still go back, or come back from a closed card
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """`reached` counts the steps of PROGRESS that are done; `stopped` means that no further one will follow.

    `another_card` asks for the form that takes one, `action_url` is where the shopper confirms at the bank; both
    while the order's hold lasts.
    """

    headline: str
    text: str
    tone: Tone
    poll: Poll
    reached: int
    stopped: bool = False
    another_card: bool = False
    action_url: str = ""


PROGRESS = ("Placed", "Payment", "Paid", "On its way")
_PLACED, _PAYMENT, _PAID, _SENT = 1, 1, 3, 4

_NOT_AGAIN = "You will not be charged twice: please do not pay again."
_NOT_CHARGED = "Nothing was charged."

_Order, _Pay = Order.Status, Payment.Status
# Payments that have certainly taken no money, and never will by themselves.
_WITHOUT_MONEY = frozenset({_Pay.CANCELED, _Pay.FAILED})
_NO_MONEY_BACK = MoneyBack()


def may_cancel(order: Order) -> bool:
    """Whether the shopper is offered to cancel; by the time they do, it may be too late."""
    return _Order(order.status) in CANCELLABLE


def describe(
    *, order: Order, payment: Payment | None, back: MoneyBack = _NO_MONEY_BACK, awaits_screening: bool = False
) -> Words:
    """The words for this order; `payment` is None for one that was sold out, and `awaits_screening` says that no
    person is needed to go on with a review."""
    if payment is None:
        return _sold_out()
    if order.status in _ENDED:
        return _ended(order, payment, back)
    if order.status == _Order.SHIPPED:
        return _with_refunds(_shipped(), payment, back)
    if payment.status == _Pay.SUCCEEDED:
        words = _cancelling_paid(order) if _is_being_cancelled(order) else _paid(_Order(order.status))
        return _with_refunds(words, payment, back)
    return _unpaid(order, payment, awaits_screening=awaits_screening)


def _sold_out() -> Words:
    return Words(
        headline="Sold out",
        text=f"Somebody was faster: we no longer have everything you ordered. {_NOT_CHARGED} "
        "Your cart is as you left it, so you can order what there is.",
        tone=Tone.BAD,
        poll=Poll.NEVER,
        reached=_PLACED,
        stopped=True,
    )


def _shipped() -> Words:
    return Words(
        headline="On its way to you",
        text="Your parcel has left our warehouse.",
        tone=Tone.GOOD,
        poll=Poll.RARELY,
        reached=_SENT,
    )


# --- money back -----------------------------------------------------------------------------------


def _with_refunds(words: Words, payment: Payment, back: MoneyBack) -> Words:
    """An order that goes on, of which a part was paid back."""
    said = _refunds(payment, back)
    poll = Poll.LATER if back.on_its_way and words.poll is Poll.RARELY else words.poll
    return replace(words, text=f"{words.text} {said}", poll=poll) if said else words


def _refunds(payment: Payment, back: MoneyBack) -> str:
    """What has come of the refunds; nothing where there are none. Money is sent when the bank has taken it."""
    said = []
    if back.sent:
        sent = display(amount=back.sent, currency=payment.currency)
        said.append(f"We have sent {sent} back to your card; your bank may take some days to show it.")
    if back.on_its_way:
        more = display(amount=back.on_its_way, currency=payment.currency) + (" more" if back.sent else "")
        said.append(f"{more} goes back to your card; this page says when the bank has taken it.")
    elif back.is_failed and back.sent < payment.amount:
        money = "more" if back.sent else "the money"
        said.append(
            f"The bank could not put {money} on your card: a person of ours has been told, and sees to it that "
            "you get it."
        )
    return " ".join(said)


# --- ended ----------------------------------------------------------------------------------------

_ENDED = frozenset({_Order.CANCELLED, _Order.PAYMENT_FAILED, _Order.FULFILLMENT_FAILED})
_REJECTED, _DISPUTE_LOST = "rejected", "dispute_lost"


def _ended(order: Order, payment: Payment, back: MoneyBack) -> Words:
    headline = _end(order)
    if payment.status not in (_Pay.SUCCEEDED, *_WITHOUT_MONEY):
        return _confirming(headline)
    charged = payment.status == _Pay.SUCCEEDED
    returned = charged and back.sent >= payment.amount
    by_shopper = order.process.get("cancelled_by") == SHOPPER
    text = _money_of_ended(order, payment, back) if charged else _without_money(order)
    return Words(
        headline=headline,
        text=text,
        tone=Tone.DONE if returned or (by_shopper and not charged) else Tone.CALM if by_shopper else Tone.BAD,
        poll=Poll.RARELY if returned else Poll.LATER if charged else Poll.NEVER,
        reached=_PAID if charged else _PAYMENT,
        stopped=True,
    )


def _end(order: Order) -> str:
    if order.status == _Order.FULFILLMENT_FAILED:
        return "We could not send this order"
    reason = order.process.get("reason")
    if order.status == _Order.PAYMENT_FAILED:
        return "The time to pay has run out" if reason == HOLD_EXPIRED else "The payment did not go through"
    if reason == _REJECTED:
        return "We could not accept this order"
    return "You cancelled this order" if order.process.get("cancelled_by") == SHOPPER else "This order was cancelled"


def _without_money(order: Order) -> str:
    if order.process.get("reason") == _REJECTED:
        return f"We are sorry. {_NOT_CHARGED} The goods went back on the shelf, and nothing more follows."
    return f"{_NOT_CHARGED} The goods went back on the shelf; you are welcome to order them again."


def _money_of_ended(order: Order, payment: Payment, back: MoneyBack) -> str:
    if order.process.get("reason") == _DISPUTE_LOST:
        return "Your bank has decided for you: the money comes back through it."
    if order.process.get("disputed"):
        return "Your bank is looking into this payment, as you asked it to: it decides about the money."
    # Where nothing was asked of the bank, a person was asked instead.
    return _refunds(payment, back) or "You have paid for it: a person of ours looks after your money."


# --- paid -----------------------------------------------------------------------------------------


def _is_being_cancelled(order: Order) -> bool:
    """By somebody. After the hold's clock, money that comes late is still welcome: the goods are still there."""
    return order.status == _Order.CANCELLING and order.process.get("reason") != HOLD_EXPIRED


def _cancelling_paid(order: Order) -> Words:
    return Words(
        headline="This order is being cancelled",
        text="We are asking the warehouse to keep your parcel here. Once it has said yes, the money goes back to your "
        "card; if the parcel has just left, it is too late, and this page says so."
        if order.process.get("picking")
        else "The bank had already taken the money: it goes back to your card.",
        tone=Tone.CALM,
        poll=Poll.LATER,
        reached=_PAID,
    )


def _paid(status: Order.Status) -> Words:
    if status == _Order.ON_HOLD:
        return Words(
            headline="Your bank has a question",
            text="The bank of your card has asked us about this payment. Until that is answered we keep your "
            "parcel here.",
            tone=Tone.CALM,
            poll=Poll.LATER,
            reached=_PAID,
        )
    accepted = status == _Order.ACCEPTED
    return Words(
        headline="Thank you: paid",
        text="We are packing your order; a confirmation is on its way to your mailbox."
        if accepted
        else "Your payment has arrived; we are passing your order on to our warehouse.",
        tone=Tone.GOOD,
        poll=Poll.LATER if accepted else Poll.SOON,
        reached=_PAID,
    )


# --- not paid yet ---------------------------------------------------------------------------------


def _unpaid(order: Order, payment: Payment, *, awaits_screening: bool) -> Words:
    status = _Order(order.status)
    if status == _Order.CANCELLING or payment.status in (_Pay.CANCELING, *_WITHOUT_MONEY):
        return _cancelling_unpaid(order, payment)
    if payment.blocked_reason:
        return Words(
            headline="We are looking into your payment",
            text=f"Something on our side keeps it from going through; a person has been told. {_NOT_AGAIN}",
            tone=Tone.CALM,
            poll=Poll.LATER,
            reached=_PAYMENT,
        )
    if payment.status == _Pay.UNKNOWN:
        return _confirming("We are confirming your payment")
    if payment.status == _Pay.REQUIRES_ACTION:
        return _action(payment)
    if payment.status == _Pay.DECLINED:
        return _declined(status, payment)
    if status == _Order.UNDER_REVIEW and payment.status == _Pay.UNPROCESSED:
        return Words(
            headline="We are checking your order",
            text="We take a closer look at it before anything is charged; your goods are reserved meanwhile. "
            "This page tells you how it goes on.",
            tone=Tone.CALM,
            poll=Poll.SOON if awaits_screening else Poll.LATER,
            reached=_PLACED,
        )
    if payment.status == _Pay.PROCESSING or status != _Order.PLACED:
        return Words(
            headline="Your payment is on its way",
            text="We have your order and your goods are reserved. Your bank is being asked; you can stay here or "
            f"come back later. {_NOT_AGAIN}",
            tone=Tone.BUSY,
            poll=Poll.SOON,
            reached=_PAYMENT,
        )
    return Words(
        headline="We have your order",
        text="Your goods are reserved. The payment comes next; this page follows it by itself.",
        tone=Tone.BUSY,
        poll=Poll.SOON,
        reached=_PLACED,
    )


def _confirming(headline: str) -> Words:
    return Words(
        headline=headline,
        text=f"We are confirming your payment with the bank. {_NOT_AGAIN}",
        tone=Tone.BUSY,
        poll=Poll.SOON,
        reached=_PAYMENT,
    )


def _cancelling_unpaid(order: Order, payment: Payment) -> Words:
    sure = payment.status in _WITHOUT_MONEY or (payment.status == _Pay.UNPROCESSED and payment.attempts == 0)
    expired = order.process.get("reason") == HOLD_EXPIRED
    return Words(
        headline="The time to pay has run out" if expired else "This order is being cancelled",
        text=f"{_NOT_CHARGED} This page says so when it is done."
        if sure
        else f"We are asking the bank to make sure that nothing is charged. {_NOT_AGAIN}",
        tone=Tone.BUSY,
        poll=Poll.SOON,
        reached=_PAYMENT,
    )


def _action(payment: Payment) -> Words:
    url = payment.action_url if urlsplit(payment.action_url).scheme in ("https", "http") else ""
    return Words(
        headline="Please confirm your payment",
        text="Your bank wants to hear from you before it pays. If you have just answered it, this page follows in a "
        "moment.",
        tone=Tone.ASK,
        poll=Poll.SOON,
        reached=_PAYMENT,
        action_url=url,
    )


def _declined(status: Order.Status, payment: Payment) -> Words:
    reason = declines.reason(payment.failure_code)
    waiting = status == _Order.PAYMENT_DECLINED  # the order process has heard of it, and takes another card
    return Words(
        headline="Your card was declined",
        text=(f"The bank says that {reason}. " if reason else "Your bank gave no reason that we could pass on. ")
        + f"{_NOT_CHARGED} You can pay with another card.",
        tone=Tone.ASK,
        poll=Poll.LATER if waiting else Poll.SOON,
        reached=_PAYMENT,
        another_card=waiting,
    )
