"use strict";
// The slider of a block chooses the pass whose outlines, pictures and numbers are shown; or all outlines at once.
for (const block of document.querySelectorAll(".passes")) {
  const names = JSON.parse(block.dataset.names), [range, all] = block.querySelectorAll(".slider input");
  const parts = [...block.querySelectorAll(".pass")].map((element) => [element, +/pass-(\d+)/.exec(element.getAttribute("class"))[1]]);
  const show = () => {
    for (const [element, number] of parts) {
      const line = element instanceof SVGElement, together = line && all.checked;
      element.style.display = together || number === +range.value ? "" : "none";
      if (line) element.style.stroke = together ? `hsl(${(220 * number) / Math.max(names.length - 1, 1)} 90% 55%)` : "";
    }
    block.querySelector("output").textContent = names[+range.value];
  };
  range.addEventListener("input", show);
  all.addEventListener("change", show);
  show();
}
