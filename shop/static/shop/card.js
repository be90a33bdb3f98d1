// The card of a form. Its number is typed into the payment provider's own frame: this page only ever gets an id of
// the card, puts it into the field `payment_method`, and sends the form.
"use strict";

// Milliseconds until a provider that does not answer is taken as out of reach.
const PATIENCE = 20000;

for (const field of document.querySelectorAll("[data-card]")) setUp(field);

function setUp(field) {
  const form = field.closest("form");
  const id = field.querySelector("input[name=payment_method]");
  const entry = field.querySelector("[data-card-entry]");
  const mount = field.querySelector("[data-card-mount]");
  const kept = field.querySelector("[data-card-kept]");
  const problem = field.querySelector("[data-card-problem]");
  const buttons = form.querySelectorAll("button[type=submit]");
  let sending = false;

  const say = (text) => {
    problem.textContent = text;
    problem.hidden = !text;
  };
  const setSending = (now) => {
    sending = now;
    for (const button of buttons) {
      button.disabled = now;
      button.classList.toggle("button--busy", now);
    }
  };
  const show = () => {
    kept.hidden = !id.value;
    entry.hidden = Boolean(id.value);
  };

  // Back from the order page: the form may be sent again, and becomes the same order.
  window.addEventListener("pageshow", () => setSending(false));
  show();

  if (typeof window.Stripe !== "function") {
    entry.hidden = true;
    if (!id.value) say("The card field could not be loaded. Please check your connection and load this page again.");
    form.addEventListener("submit", (event) => {
      if (!id.value) event.preventDefault();
    });
    return;
  }

  const stripe = window.Stripe(field.dataset.key);
  const look = getComputedStyle(mount);
  const card = stripe.elements().create("card", {
    hidePostalCode: true,
    style: { base: { color: look.color, fontSize: "16px", fontFamily: look.fontFamily } },
  });
  card.mount(mount);
  card.on("change", (event) => say(event.error ? event.error.message : ""));
  field.querySelector("[data-card-other]").addEventListener("click", () => {
    id.value = "";
    show();
    card.focus();
  });

  form.addEventListener("submit", async (event) => {
    if (sending) {
      event.preventDefault();
      return;
    }
    if (id.value) {
      // Not before the browser has collected the form, which it does after this handler.
      setTimeout(() => setSending(true));
      return;
    }
    event.preventDefault();
    say("");
    setSending(true);
    try {
      const { paymentMethod, error } = await Promise.race([
        stripe.createPaymentMethod({ type: "card", card, billing_details: holder(form) }),
        new Promise((_, reject) => setTimeout(reject, PATIENCE, new Error("no answer"))),
      ]);
      if (error) {
        say(error.message);
        setSending(false);
        return;
      }
      id.value = paymentMethod.id;
      form.submit();
    } catch {
      say("Our payment provider does not answer. Nothing was ordered: please try again in a moment.");
      setSending(false);
    }
  });
}

function holder(form) {
  const details = {};
  for (const name of ["name", "email"]) {
    const value = form.elements[name]?.value.trim();
    if (value) details[name] = value;
  }
  return details;
}
