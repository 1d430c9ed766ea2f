"use strict";
// Keeps the page true: fetches it again every few seconds and puts its main part in place of the one that is shown. Without
// this script the page reloads itself now and then.
const interval = 5000, timeout = 10000;
const state = document.getElementById("live");

// held says whether somebody is in the middle of something that a swap would take away.
function held(main) {
  const at = document.activeElement;
  if (main.contains(at) && /^(INPUT|SELECT|TEXTAREA|BUTTON)$/.test(at.tagName)) return true;
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && main.contains(selection.anchorNode);
}

function swap(page) {
  const main = document.getElementById("main"), fresh = page.getElementById("main");
  if (!fresh || held(main)) return;
  const at = document.activeElement, href = main.contains(at) && at.getAttribute("href");
  const result = main.querySelector(".result[role=status]");
  main.replaceChildren(...fresh.childNodes);
  if (result && !main.querySelector(".result[role=status]")) main.prepend(result);
  document.title = page.title;
  if (href) [...main.querySelectorAll("a")].find(a => a.getAttribute("href") === href)?.focus({preventScroll: true});
}

async function refresh() {
  if (document.hidden || held(document.getElementById("main"))) return;
  try {
    const answer = await fetch(location.href, {signal: AbortSignal.timeout(timeout)});
    if (answer.redirected || answer.status === 401) return location.reload();
    if (!answer.ok) throw new Error(answer.status);
    swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
    state.textContent = "· live";
    state.className = "";
  } catch {
    state.textContent = "· not reachable";
    state.className = "failing";
  }
}

state.textContent = "· live";
setInterval(refresh, interval);
document.addEventListener("visibilitychange", refresh);
