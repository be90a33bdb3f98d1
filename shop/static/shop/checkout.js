// Shows the total of the chosen way of shipping; without this script each choice shows its own.
"use strict";
for (const form of document.querySelectorAll("[data-checkout]")) {
  const button = form.querySelector("button[type=submit]");
  const show = () => {
    const chosen = form.querySelector("input[name=shipping]:checked");
    for (const row of form.querySelectorAll("[data-only-with-script]")) row.hidden = !chosen;
    if (!chosen) return;
    form.querySelector("[data-shipping-price]").textContent = chosen.dataset.price;
    form.querySelector("dd[data-total]").textContent = chosen.dataset.total;
    if (button) button.textContent = `${button.dataset.label} ${chosen.dataset.total}`;
  };
  form.addEventListener("change", show);
  show();
}
