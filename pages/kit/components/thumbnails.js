// Small pictures that are buttons; what is sent back is the id of the one that was pressed.

export default function ({ data, parentElement, setTriggerValue }) {
  const list = parentElement.querySelector(".thumbs");
  const focused = list.getRootNode().activeElement?.dataset?.id;
  list.replaceChildren();
  for (const item of data.items) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.id = item.id;
    button.setAttribute("aria-current", String(Boolean(item.current)));
    const picture = document.createElement("img");
    picture.src = item.url;
    picture.alt = item.alt;
    const name = document.createElement("b");
    name.textContent = item.title;
    const words = document.createElement("span");
    words.textContent = item.text;
    button.append(picture, name, words);
    button.onclick = () => setTriggerValue("opened", item.id);
    list.append(button);
    if (item.id === focused) button.focus();
  }
}
