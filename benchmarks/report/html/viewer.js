"use strict";
// Two pictures upon each other, the upper one cut where the slider stands. The pictures are those of the sheet below,
// which stays for readers without scripts, and for print.
(() => {
  const viewer = document.querySelector(".viewer");
  if (!viewer) return;
  const find = (name) => viewer.querySelector(`.${name}`);
  const images = [...document.querySelectorAll(".sheet > .image")].map((row) => [...row.querySelectorAll("img")]);
  const labels = [...find("left").options].map((option) => option.text);
  const [which, left, right, meet] = ["which", "left", "right", "meet"].map(find);
  const [stage, under, over, cut, difference] = ["stage", "under", "over", "cut", "difference"].map(find);

  const show = (target, side) => {
    const picture = images[which.value][side.value];
    target.src = picture.src;
    target.alt = picture.alt;
  };
  const place = () => {
    const share = `${meet.value}%`;
    over.style.clipPath = difference.checked ? "none" : `inset(0 0 0 ${share})`;
    cut.style.left = share;
    stage.classList.toggle("differing", difference.checked);
    meet.disabled = difference.checked;
    meet.setAttribute("aria-valuetext", `${meet.value} % ${labels[left.value]}, the rest ${labels[right.value]}`);
  };
  const update = () => {
    show(under, left);
    show(over, right);
    place();
  };
  const drag = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const box = stage.getBoundingClientRect();
    meet.value = Math.round((100 * (event.clientX - box.left)) / box.width);
    place();
  };

  // The truth, or the baseline where there is no other, beside the last engine.
  left.value = Math.min(1, labels.length - 1);
  right.value = labels.length - 1;
  for (const choice of [which, left, right]) choice.addEventListener("change", update);
  difference.addEventListener("change", place);
  meet.addEventListener("input", place);
  for (const kind of ["pointerdown", "pointermove"]) stage.addEventListener(kind, drag);
  viewer.hidden = false;
  document.querySelector(".sheet").classList.add("covered");
  update();
})();
