// Quizzes: count the right answers, and tell screen readers what the style shows. Without this script the style does.
for (const form of document.querySelectorAll("form.quiz")) {
  const score = form.querySelector(".quiz-score");
  const said = form.querySelector(".quiz-said");
  form.addEventListener("change", (event) => {
    const right = form.querySelectorAll("input:checked ~ .feedback.right").length;
    score.textContent = `${right} of ${form.dataset.questions} right`;
    said.textContent = event.target.closest(".choice").querySelector(".feedback").innerText;
  });
  form.addEventListener("submit", (event) => event.preventDefault());
}
