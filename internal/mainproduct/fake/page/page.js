"use strict";

const refreshMs = 1000;
const field = (id) => document.getElementById(id).value.trim();
const notice = (text) => { document.getElementById("notice").textContent = text; };

// The server renders and escapes; this only swaps the live part of the page.
async function refresh() {
  const response = await fetch("/", { cache: "no-store" });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  document.getElementById("live").replaceWith(page.getElementById("live"));
}

async function change(method, body) {
  const response = await fetch("/control/behaviours", {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  notice(response.ok ? "" : (await response.json()).error);
  await refresh();
}

function scoped(behaviour) {
  const scope = {};
  if (field("on") !== "") scope.on = field("on");
  if (field("fraction") !== "" && field("fraction") !== "1") scope.fraction = Number(field("fraction"));
  if (field("calls") !== "") scope.calls = Number(field("calls"));
  if (field("seconds") !== "") scope.duration_ms = Math.round(Number(field("seconds")) * 1000);
  if (field("users") !== "") scope.users = [field("users")];
  if (field("orders") !== "") scope.orders = [field("orders")];
  return { ...behaviour, ...scope };
}

const report = (promise) => promise.catch(() => notice("The fake main product does not answer."));

for (const button of document.querySelectorAll("button[data-behaviour]")) {
  button.addEventListener("click", () => report(change("POST", [scoped(JSON.parse(button.dataset.behaviour))])));
}
document.getElementById("behave").addEventListener("click", () => report(change("DELETE")));

setInterval(() => { if (!document.hidden) report(refresh()); }, refreshMs);
