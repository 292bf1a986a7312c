"use strict";

// The box in the head of the list chooses all jobs on the page; without scripts it stays hidden.
for (const all of document.querySelectorAll(".jq-all")) {
  const boxes = [...all.form.querySelectorAll("input[name=id]")];
  all.hidden = false;
  all.addEventListener("change", () => boxes.forEach((box) => { box.checked = all.checked; }));
  boxes.forEach((box) => box.addEventListener("change", () => {
    all.checked = boxes.every((one) => one.checked);
    all.indeterminate = !all.checked && boxes.some((one) => one.checked);
  }));
}
