"""A trained encoder with the methods of the Hugging Face Hub: from_pretrained, save_pretrained, push_to_hub.

It needs the package huggingface_hub, which ``pip install '.[export]'`` installs. Nothing is fetched from the
network for a local folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin, snapshot_download

from bodvcl.export.facts import EncoderFacts
from bodvcl.export.hub_folder import FILES, read_card, read_hub_folder, write_hub_folder
from bodvcl.models.encoder import VideoEncoder
from bodvcl.pretrained import FrameEncoder

__all__ = ["VideoEncoderModel"]

_OLD = ("proxies", "resume_download")  # huggingface_hub before 1.0 always passes them, as None


class VideoEncoderModel(FrameEncoder, PyTorchModelHubMixin):
    """The encoder of ``bodvcl export --to hf``, on disk or on the Hub.

    ``VideoEncoderModel.from_pretrained(FOLDER_OR_REPO_ID)`` loads it, in evaluation mode;
    ``.push_to_hub(REPO_ID)`` uploads its weights, configuration and model card. Everything else is that of
    :class:`~bodvcl.pretrained.FrameEncoder`.

    Args:
        encoder: backbone and projector.
        facts: what belongs to it.
        card: text of the model card.
    """

    def __init__(self, encoder: VideoEncoder, facts: EncoderFacts, card: str = "") -> None:
        super().__init__(encoder, facts)
        self.card = card

    def _save_pretrained(self, save_directory: Path) -> None:
        write_hub_folder(save_directory, self.encoder, self.facts, self.card)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str = "cpu",
        **options: Any,
    ) -> VideoEncoderModel:
        if unknown := [name for name, value in options.items() if name not in _OLD or value is not None]:
            raise TypeError(f"from_pretrained: unknown options {', '.join(unknown)}")
        folder = Path(model_id)
        if not folder.is_dir():
            folder = Path(
                snapshot_download(
                    model_id,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                    allow_patterns=list(FILES),
                )
            )
        encoder, facts = read_hub_folder(folder, map_location)
        return cls(encoder, facts, read_card(folder)).eval()
