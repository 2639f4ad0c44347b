// Zoom, and what a stretch says, beside each plot over time; the page is whole without it.
"use strict";
for (const plot of document.querySelectorAll("svg.plot")) {
  const box = plot.parentElement, tools = document.createElement("div"), told = document.createElement("output");
  const bars = [...plot.querySelectorAll(".b")], labels = plot.querySelectorAll("text.label");
  let zoom = 1, current = -1;
  const show = (bar) => {
    if (current >= 0) bars[current].classList.remove("cur");
    current = bars.indexOf(bar);
    if (current < 0) return;
    bar.classList.add("cur");
    told.textContent = bar.querySelector("title").textContent;
  };
  const scale = (factor) => {
    const middle = (box.scrollLeft + box.clientWidth / 2) / zoom;
    zoom = Math.min(32, Math.max(1, factor));
    plot.setAttribute("width", zoom * 100 + "%");
    box.scrollLeft = middle * zoom - box.clientWidth / 2;
  };
  const button = (word, title, act) => {
    const one = document.createElement("button");
    one.type = "button";
    one.textContent = word;
    one.setAttribute("aria-label", title);
    one.addEventListener("click", act);
    tools.append(one);
  };
  tools.className = "tools";
  button("+", "zoom in", () => scale(zoom * 2));
  button("\u2212", "zoom out", () => scale(zoom / 2));
  button("all", "show all", () => scale(1));
  tools.append(told);
  box.before(tools);
  told.textContent = "Point at a strip, or choose the plot and use the arrow keys.";
  box.addEventListener("scroll", () => labels.forEach((one) => one.setAttribute("x", box.scrollLeft)));
  plot.addEventListener("pointermove", (event) => show(event.target.closest(".b")));
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "+") scale(zoom * 2);
    else if (event.key === "-") scale(zoom / 2);
    else if (step) {
      show(bars[Math.min(bars.length - 1, Math.max(0, current + step))]);
      event.preventDefault();
    }
  });
}
