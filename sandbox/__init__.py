"""The outside world: a bank that speaks Stripe's API, a mail provider that speaks SendGrid's."""
