// The scorecard's filter. Nothing chosen in a group means all of it; without this script every claim is shown.
{
  const form = document.getElementById("claim-filter");
  const claims = [...document.querySelectorAll(".claim")];

  function filter() {
    const chosen = new FormData(form);
    const excludes = (claim, name) => {
      const wanted = chosen.getAll(name).filter(Boolean);
      return wanted.length > 0 && !wanted.includes(claim.dataset[name]);
    };
    for (const claim of claims) claim.hidden = ["verdict", "kind", "part"].some((name) => excludes(claim, name));
    const shown = claims.filter((claim) => !claim.hidden).length;
    form.querySelector("output").value = `${shown} of ${claims.length} claims shown`;
  }

  form.addEventListener("change", filter);
  form.addEventListener("reset", () => setTimeout(filter)); // once the fields are empty
  form.addEventListener("submit", (event) => event.preventDefault()); // Enter in a checkbox
  addEventListener("hashchange", () => {
    const target = document.querySelector(".claim:target[hidden]");
    if (!target) return;
    form.reset();
    setTimeout(() => target.scrollIntoView());
  });
  form.hidden = false;
  filter();
}
