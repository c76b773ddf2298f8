// Before the first paint: the theme that was chosen, and that scripts run.
document.documentElement.classList.add("js");
try {
  const chosen = localStorage.getItem("pinpip-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch { /* no storage: the system's theme */ }
