// A changed quantity is sent at once; without this script the button beside it does it.
"use strict";
for (const field of document.querySelectorAll(".line__quantity input[name=quantity]")) {
  const button = field.form.querySelector("button");
  button.hidden = true;
  field.addEventListener("change", () => field.form.requestSubmit());
}
