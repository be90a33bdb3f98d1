// The part of Stripe.js v3 that a checkout needs. The card's fields live in a frame of the bank's own origin.
(() => {
  "use strict";
  const bank = new URL(document.currentScript.src).origin;
  const mounted = new Map();
  let ids = 0;

  class Element {
    constructor(kind, key, theme) {
      this.kind = kind;
      this.key = key;
      this.theme = theme;
      this.id = `element-${++ids}`;
      this.handlers = {};
      this.waiting = new Map();
      this.frame = null;
    }

    mount(target) {
      const place = typeof target === "string" ? document.querySelector(target) : target;
      if (!place) throw new Error(`The selector you specified (${target}) applies to no DOM elements that are currently on the page.`);
      this.unmount();
      const follows = getComputedStyle(place).colorScheme.includes("dark");
      const theme = this.theme === "night" ? "dark" : follows ? "auto" : "light";
      const settings = new URLSearchParams({ element: this.id, origin: location.origin, theme });
      this.frame = document.createElement("iframe");
      this.frame.src = `${bank}/elements/card?${settings}`;
      this.frame.title = "Secure card payment input frame";
      Object.assign(this.frame.style, { border: "0", width: "100%", height: "260px", display: "block" });
      mounted.set(this.id, this);
      place.replaceChildren(this.frame);
    }

    unmount() {
      if (this.frame) this.frame.remove();
      this.frame = null;
      mounted.delete(this.id);
      for (const settle of this.waiting.values()) {
        settle({ error: { type: "validation_error", message: "The card's fields are no longer on the page." } });
      }
      this.waiting.clear();
    }

    destroy() {
      this.unmount();
      this.handlers = {};
    }

    on(name, handler) {
      (this.handlers[name] = this.handlers[name] || []).push(handler);
      return this;
    }

    off(name, handler) {
      this.handlers[name] = handler ? (this.handlers[name] || []).filter((known) => known !== handler) : [];
      return this;
    }

    once(name, handler) {
      const only = (event) => {
        this.off(name, only);
        handler(event);
      };
      return this.on(name, only);
    }

    update() {}

    focus() {
      this.send({ type: "focus" });
    }

    clear() {
      this.send({ type: "clear" });
    }

    send(message) {
      if (this.frame) this.frame.contentWindow.postMessage(message, bank);
    }

    createPaymentMethod(billing) {
      return new Promise((settle) => {
        if (!this.frame) throw new Error("We could not retrieve data from the specified Element. Please make sure it is still mounted.");
        const call = ++ids;
        this.waiting.set(call, settle);
        this.send({ type: "createPaymentMethod", call, key: this.key, billing });
      });
    }

    receive(message) {
      if (message.type === "resize") {
        this.frame.style.height = `${message.height + 6}px`;
      } else if (message.type === "answer") {
        const settle = this.waiting.get(message.call);
        this.waiting.delete(message.call);
        if (settle) settle(message.answer);
      } else {
        const event = { elementType: this.kind, ...message.state };
        for (const handler of this.handlers[message.type] || []) handler(event);
      }
    }
  }

  addEventListener("message", (event) => {
    const element = event.origin === bank && event.data && mounted.get(event.data.sandboxElement);
    if (element && element.frame && event.source === element.frame.contentWindow) element.receive(event.data);
  });

  window.Stripe = (key) => {
    if (!String(key).startsWith("pk_test_")) {
      throw new Error("Please call Stripe() with your publishable test key. You used something else.");
    }
    return {
      elements(options = {}) {
        const created = {};
        const theme = options.appearance && options.appearance.theme;
        return {
          create: (kind) => (created.card = new Element(kind, key, theme)),
          getElement: () => created.card || null,
          submit: async () => ({}),
          update() {},
        };
      },
      createPaymentMethod({ card, elements, billing_details: billing, params }) {
        const element = card || (elements && elements.getElement());
        if (!element) return Promise.reject(new Error("createPaymentMethod needs a card element, or elements."));
        return element.createPaymentMethod(billing || (params && params.billing_details));
      },
    };
  };
})();
