"""The mail provider's Event Webhook: batches of events, signed with ECDSA as SendGrid signs them."""

from __future__ import annotations

import base64
import os
import time
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox.faults import Faults
from sandbox.jsons import Json, dumps
from sandbox.mail.mailbox import Mailbox, twin_of
from sandbox.stats import Stats
from sandbox.webhooks import Deliveries, Parcel

SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"


def signing_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    """Return this sandbox's key, made at the first start; its public half lies in `sendgrid_public_key`."""
    path = directory / "sendgrid_private_key.pem"
    if path.exists():
        found = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{path} is not an elliptic curve key")
        return found
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "sendgrid_public_key").write_text(public_half(key))
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    return key


def public_half(key: ec.EllipticCurvePrivateKey) -> str:
    """Return it as SendGrid shows it."""
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(public).decode()


class MailWebhooks:
    """Sends the events of the mailbox, those of a former process included."""

    def __init__(
        self, *, mailbox: Mailbox, url: str, key: ec.EllipticCurvePrivateKey, faults: Faults, stats: Stats
    ) -> None:
        self._mailbox = mailbox
        self._deliveries = Deliveries(
            op="webhook.sendgrid",
            url=url,
            sign=partial(self._headers, key=key),
            forge=partial(self._headers, key=ec.generate_private_key(ec.SECP256R1())),
            faults=faults,
            stats=stats,
        )

    @staticmethod
    def _headers(body: bytes, *, key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
        timestamp = str(int(time.time()))
        signature = key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return {SIGNATURE_HEADER: base64.b64encode(signature).decode(), TIMESTAMP_HEADER: timestamp}

    def send(self, events: list[Json]) -> None:
        if events:
            self._deliveries.send(self._parcel(events))

    def resume(self) -> None:
        for event in list(self._mailbox.undelivered.values()):
            self.send([event])

    async def stop(self) -> None:
        await self._deliveries.stop()

    def _parcel(self, events: list[Json]) -> Parcel:
        def accepted() -> None:
            delivered = [event["sg_event_id"] for event in events]
            self._mailbox.commit({"op": "webhook.sendgrid", "delivered": delivered})

        return Parcel(
            body=dumps(events),
            accepted=accepted,
            twin=lambda: self._parcel([twin_of(event) for event in events]),
        )
