// The card's fields. Card data goes from here to the bank alone; the page around gets an id.
(() => {
  "use strict";
  const settings = new URLSearchParams(location.search);
  const page = settings.get("origin");
  const field = (id) => document.getElementById(id);
  const number = field("number");
  const expiry = field("expiry");
  const cvc = field("cvc");
  const problem = field("problem");

  const tell = (message) => parent.postMessage({ sandboxElement: settings.get("element"), ...message }, page);

  const digits = (text) => text.replace(/\D/g, "");

  const passesLuhn = (text) =>
    [...text].reverse().reduce((sum, digit, place) => {
      const value = Number(digit) * (place % 2 ? 2 : 1);
      return sum + (value > 9 ? value - 9 : value);
    }, 0) % 10 === 0;

  const expiryParts = () => {
    const text = digits(expiry.value);
    return { month: text.slice(0, 2), year: text.slice(2, 4) };
  };

  const state = () => {
    const typed = digits(number.value);
    const { month, year } = expiryParts();
    const enough = typed.length >= 14;
    const wrong = enough && !passesLuhn(typed);
    return {
      complete: enough && !wrong && Number(month) >= 1 && Number(month) <= 12 && year.length === 2 && digits(cvc.value).length >= 3,
      empty: !number.value && !expiry.value && !cvc.value,
      error: wrong ? { code: "incorrect_number", type: "validation_error", message: "Your card number is invalid." } : undefined,
      brand: { 3: "amex", 4: "visa", 5: "mastercard" }[typed[0]] || "unknown",
    };
  };

  const show = (message) => {
    problem.textContent = message || "";
    number.setAttribute("aria-invalid", String(Boolean(message)));
  };

  const changed = () => {
    const now = state();
    show(now.error && now.error.message);
    tell({ type: "change", state: now });
  };

  const fill = (card) => {
    number.value = card.replace(/(.{4})(?=.)/g, "$1 ");
    expiry.value = `12 / ${String(new Date().getFullYear() + 3).slice(2)}`;
    cvc.value = card.startsWith("3") ? "1234" : "123";
    changed();
  };

  const createPaymentMethod = async ({ call, key, billing }) => {
    const { month, year } = expiryParts();
    const form = new URLSearchParams({
      type: "card",
      "card[number]": digits(number.value),
      "card[exp_month]": month,
      "card[exp_year]": year,
      "card[cvc]": digits(cvc.value),
    });
    for (const [name, value] of Object.entries(billing || {})) {
      if (name === "address") {
        for (const [part, text] of Object.entries(value || {})) {
          if (text) form.set(`billing_details[address][${part}]`, text);
        }
      } else if (value) {
        form.set(`billing_details[${name}]`, value);
      }
    }
    try {
      const response = await fetch("/v1/payment_methods", {
        method: "POST",
        headers: { Authorization: `Bearer ${key}` },
        body: form,
      });
      const body = await response.json();
      if (body.error) show(body.error.message);
      tell({ type: "answer", call, answer: body.error ? { error: body.error } : { paymentMethod: { id: body.id } } });
    } catch {
      const error = { type: "api_connection_error", message: "The card could not be checked. Please try again." };
      show(error.message);
      tell({ type: "answer", call, answer: { error } });
    }
  };

  addEventListener("message", (event) => {
    if (event.source !== parent || event.origin !== page) return;
    const message = event.data || {};
    if (message.type === "createPaymentMethod") createPaymentMethod(message);
    if (message.type === "focus") number.focus();
    if (message.type === "clear") {
      field("card").reset();
      changed();
    }
  });

  number.addEventListener("input", () => {
    if (number.selectionStart === number.value.length) {
      number.value = digits(number.value).slice(0, 19).replace(/(.{4})(?=.)/g, "$1 ");
    }
    changed();
  });
  expiry.addEventListener("input", (event) => {
    const text = digits(expiry.value);
    if (text.length > 2 || (text.length === 2 && event.inputType !== "deleteContentBackward")) {
      expiry.value = `${text.slice(0, 2)} / ${text.slice(2, 4)}`;
    }
    changed();
  });
  cvc.addEventListener("input", changed);
  for (const button of document.querySelectorAll("button[data-number]")) {
    button.addEventListener("click", () => fill(button.dataset.number));
  }
  field("card").addEventListener("submit", (event) => event.preventDefault());
  for (const name of ["focus", "blur"]) addEventListener(name, () => tell({ type: name }));
  new ResizeObserver(() => tell({ type: "resize", height: document.body.scrollHeight })).observe(document.body);
  tell({ type: "ready" });
})();
